"""Names to objects: the only place that turns what a user types into engines, detectors and estimators."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose._version import __version__
from vitpose.core.coco import ANIMALS, PEOPLE
from vitpose.core.errors import UsageError, WeightsError, nearest
from vitpose.core.poses import Boxes, Poses
from vitpose.core.provenance import Provenance, Setting
from vitpose.core.skeleton import Skeleton, builtin_skeletons, load_skeleton
from vitpose.detectors.base import Detector, as_detector
from vitpose.detectors.embedded import EmbeddedDetector
from vitpose.detectors.huggingface import DEFAULT_DETECTOR, HuggingFaceDetector
from vitpose.detectors.whole import WholeImage
from vitpose.engines.auto import AutoEngine
from vitpose.engines.base import Engine
from vitpose.engines.choose import make_engine
from vitpose.engines.export import is_exported, open_exported
from vitpose.media.images import ImageSource, read_image
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import HeadSpec, published_spec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options, Threshold
from vitpose.pipeline.probabilities import CALIBRATION, from_metadata
from vitpose.rendering.draw import Style, draw_poses
from vitpose.weights.defaults import AUTO, EMBEDDED, announce, asked_once, choose_detector, choose_model
from vitpose.weights.detector import is_detector, load_detector, packaged_detector
from vitpose.weights.load import LoadedModel, load_model

log = logging.getLogger(__name__)

RANDOM = "random:"
"""``random:vitpose-b`` builds a model of that size with random weights: for trying things out, never for results."""

DEFAULT_CLASSES: Mapping[str, tuple[str, ...]] = {"ap10k": ANIMALS, "apt36k": ANIMALS}
"""What a dataset's keypoints belong to; people where nothing else is said."""


def load(  # noqa: PLR0913 - the one place where every choice of a user comes together
    name_or_path: str | Path | VitPose,
    *,
    dataset: str | None = None,
    skeleton: str | Path | Skeleton | None = None,
    detector: Any = "auto",
    engine: Any = "auto",
    device: str = "auto",
    flip_test: bool = False,
    refine: bool = False,
    decode_sigma: float = 2.0,
    threshold: float | Sequence[float] | Mapping[str, float] = 0.3,
    classes: Sequence[str] | None = None,
    box_threshold: float = 0.3,
    max_people: int | None = None,
    batch_size: int = 32,
    scales: Sequence[float] = (1.0,),
) -> PoseEstimator:
    """Load a model and return an estimator: ``vitpose.load("vitpose-b")("photo.jpg")``.

    Args:
        name_or_path: a name from ``vitpose models``, a Hugging Face hub id, a file or folder of weights,
            ``random:NAME`` for random weights of a published size, an exported ``.onnx`` or ``.xml`` file, a model
            object, or ``"auto"``: the published default where it is to be had, else the one that comes with the
            package.
        dataset: which head of a model with several, for instance ``ap10k`` of a ViTPose+ model; the first by default.
        skeleton: name or TOML file of the keypoints, where the weights do not say.
        detector: ``"auto"`` (chosen as the model is, when it is first needed), ``"whole"`` (one box, the
            picture), ``"embedded"`` (the package's own), a file of one like it, a hub id or local folder of a Hugging
            Face object detector, a function from picture to boxes, a ``Detector``, or None when boxes are always given.
        engine: ``"auto"`` (starts with PyTorch; over long jobs finds out what is fastest here among those whose poses
            agree, and remembers it), ``"eager"``, ``"compiled"``, ``"onnxruntime"`` or ``"openvino"``, each with
            ``-fp32``, ``-bf16`` or ``-fp16`` where it has that, or an ``Engine``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        flip_test: also run the mirrored crop and average (the papers' protocol; about twice the time).
        refine: estimate again from the box of the first pose; mends sloppy boxes.
        decode_sigma: blur in heatmap pixels before the sub-pixel step. 2.0 is the papers'; 0.8, and any value below
            1, decodes exactly as transformers does.
        threshold: score below which a keypoint is marked as not seen: one number, one a keypoint, or by name.
        classes: what the detector looks for; people by default, animals for animal datasets.
        box_threshold: detected boxes with a lower score are left out.
        max_people: keep only so many detected boxes a picture, the best ones.
        batch_size: crops a call of the engine.
        scales: of the region round each box, for very small and very large people: ``(0.8, 1.0, 1.25)`` looks at
            everybody three times, at three times the cost.

    Raises:
        UsageError: an unknown name, dataset or keypoint; the nearest known one is named.
        WeightsError: the weights are not to be had or do not fit.
        InputError: a skeleton file is wrong.
    """
    name_or_path, detector = _settled(name_or_path, detector, classes)
    given = "" if isinstance(name_or_path, VitPose) else str(name_or_path)
    if not isinstance(name_or_path, VitPose) and is_exported(name_or_path):
        heads, provenance = _exported(name_or_path, skeleton, engine, device)
        chosen = dataset or next(iter(heads))
        if chosen not in heads:
            raise UsageError(f"{name_or_path} was exported for dataset {next(iter(heads))!r}, not for {dataset!r}")
    else:
        loaded = find_model(name_or_path, dataset, skeleton)
        heads = _heads(loaded, engine, device, dataset)
        chosen = next(iter(heads)) if dataset is None else loaded.model.spec.head(dataset).dataset
        provenance = Provenance(name=loaded.name, sha256=loaded.sha256, version=__version__)
    options = Options(
        flip_test=flip_test,
        refine=refine,
        decode_sigma=decode_sigma,
        threshold=_threshold(threshold, heads[chosen].skeleton),
        batch_size=batch_size,
        scales=tuple(scales),
    )
    search = Search(tuple(classes) if classes else None, box_threshold, max_people)
    if detector == AUTO and not classes:
        _doubt_people(chosen, heads[chosen].skeleton)
    return PoseEstimator(
        heads,
        dataset=chosen,
        detector=make_detectors(detector, search, list(heads), device=device, model=str(given)),
        options=options,
        provenance=replace(provenance, settings=search.settings),
    )


def _doubt_people(dataset: str, skeleton: Skeleton) -> None:
    """Say that people are looked for, where the keypoints seem to be of something else."""
    if dataset in DEFAULT_CLASSES or skeleton.name in builtin_skeletons() or skeleton.name in (*PEOPLE, "human"):
        return
    log.warning(
        "the model's keypoints are of %r, and the detector looks for people: say what to look for (--classes), give"
        " boxes (--boxes), or take each picture as a whole (--detector whole)",
        skeleton.name,
    )


def _settled(name_or_path: Any, detector: Any, classes: Sequence[str] | None) -> tuple[Any, Any]:
    """Choose a model that was left to us, and with it the detector: the hub is asked once, and one line says both."""
    if name_or_path != AUTO:
        return name_or_path, detector
    ask = asked_once()
    chosen = [choose_model(AUTO, ask)]
    if detector == AUTO:
        people = not classes or tuple(classes) == PEOPLE
        chosen.append(choose_detector(DEFAULT_DETECTOR, model=chosen[0].name, people=people, reachable=ask))
        detector = chosen[1].name
    announce(chosen)
    return chosen[0].name, detector


def draw(image: ImageSource, poses: Poses, *, boxes: bool = True, scale: float = 1.0) -> NDArray[np.uint8]:
    """Return the picture with the poses drawn on it, ``(height, width, 3)`` uint8 RGB.

    Args:
        image: the picture the poses were estimated in: path, URL, PIL image, array or bytes.
        poses: the people to draw; keypoints below ``poses.threshold`` are left out.
        boxes: draw the boxes too.
        scale: factor on line widths and dot sizes.

    Raises:
        UsageError: the picture has another size than the one the poses belong to.
    """
    picture = read_image(image)
    if picture.shape[:2] != tuple(poses.image_size):
        raise UsageError(
            f"the poses belong to a picture of {poses.image_size.width}x{poses.image_size.height},"
            f" this one is {picture.shape[1]}x{picture.shape[0]}"
        )
    return draw_poses(picture, poses, Style(boxes=boxes, scale=scale))


@dataclass(frozen=True, slots=True)
class Search:
    """What a detector that is built from a name looks for.

    Attributes:
        classes: names of classes; None means what the head in use needs.
        threshold: boxes with a lower score are left out.
        max_people: keep only so many boxes a picture, the best ones; None keeps all.
    """

    classes: tuple[str, ...] | None = None
    threshold: float = 0.3
    max_people: int | None = None

    @property
    def settings(self) -> tuple[tuple[str, Setting], ...]:
        """What results record of it."""
        return ("classes", self.classes), ("box_threshold", self.threshold), ("max_people", self.max_people)


def make_detector(detector: Any, search: Search, *, device: str, dataset: str = "") -> Detector | None:
    """Return the detector a name or object stands for; where ``search`` does not say, ``dataset`` does.

    It looks for people if that is no set of animals.
    """
    found = make_detectors(detector, search, [dataset], device=device)
    return found[dataset] if isinstance(found, Mapping) else found


def make_detectors(
    detector: Any, search: Search, datasets: Sequence[str], *, device: str, model: str = ""
) -> Detector | Mapping[str, Detector | None] | None:
    """Return the detector a name or object stands for, or one a dataset; weights are loaded when first needed, once.

    ``model`` is the name of the one it works for, by which ``auto`` chooses.
    """
    if detector is None:
        return None
    if not isinstance(detector, (str, Path)):
        return as_detector(detector)
    name = str(detector)
    if name == "whole":
        return WholeImage()
    if "/" not in name and name not in (AUTO, EMBEDDED) and not Path(name).exists():
        known = (AUTO, "whole", EMBEDDED)
        raise UsageError(f"unknown detector {name!r}{nearest(name, known)} (or give a hub id, owner/name, or a folder)")
    build = _built_for(name, search, device, model)
    return {
        dataset: LazyDetector(name, partial(build, search.classes or DEFAULT_CLASSES.get(dataset, PEOPLE)))
        for dataset in datasets
    }


def _built_for(name: str, search: Search, device: str, model: str) -> Callable[[tuple[str, ...]], Detector]:
    """Return what builds a detector for given classes from a name; its weights are loaded once for all of them."""
    own = cache(lambda path, classes: _embedded(path, search, device, classes))
    if name == EMBEDDED or is_detector(name):
        return partial(own, name)
    source = DEFAULT_DETECTOR if name == AUTO else name
    networks: list[HuggingFaceDetector] = []

    def looking_for(classes: tuple[str, ...]) -> HuggingFaceDetector:
        # For the classes of whoever comes first: the network need not know those of other heads.
        if not networks:
            networks.append(
                HuggingFaceDetector(
                    source, threshold=search.threshold, classes=classes, device=device, max_people=search.max_people
                )
            )
        return networks[0].for_classes(classes)

    def chosen(classes: tuple[str, ...]) -> Detector:
        choice = choose_detector(source, model=model, people=classes == PEOPLE)
        announce([choice])
        detector: Detector = own(EMBEDDED, classes) if choice.name == EMBEDDED else looking_for(classes)
        return detector

    return chosen if name == AUTO else looking_for


def _embedded(name: str, search: Search, device: str, classes: tuple[str, ...]) -> Detector:
    path = packaged_detector() if name == EMBEDDED else Path(name)
    if path is None:
        raise WeightsError(
            "this copy of the package carries no detector of its own: train one as scripts/embedded/README.md says and"
            " give its file as --detector, bring boxes with --boxes FILE, or take the whole picture with"
            " --detector whole"
        )
    loaded = load_detector(path)
    return EmbeddedDetector(
        loaded.net,
        name=f"{loaded.name} {loaded.sha256[:12]}",
        threshold=search.threshold,
        classes=classes,
        device=device,
        max_people=search.max_people,
    )


class LazyDetector:
    """A detector whose weights are loaded on the first call: who brings boxes never waits for them."""

    def __init__(self, name: str, build: Callable[[], Detector]) -> None:
        self._asked = name
        self._build = build
        self._built: Detector | None = None

    @property
    def name(self) -> str:
        """What was asked for, and once it is settled what it is, with the beginning of its hash."""
        return self._asked if self._built is None else self._built.name

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Detect, loading the weights first if need be."""
        return self._settled()(images)

    def settle(self) -> None:
        """Load the weights if need be; see ``Settles``."""
        self._settled()

    def _settled(self) -> Detector:
        if self._built is None:
            self._built = self._build()
        return self._built


def find_model(
    name_or_path: str | Path | VitPose, dataset: str | None, skeleton: str | Path | Skeleton | None
) -> LoadedModel:
    """Return the model a name, file or object stands for; see ``load``."""
    if isinstance(name_or_path, VitPose):
        return _from_object(name_or_path, name_or_path.spec.name, skeleton)
    name = str(name_or_path)
    if not name.strip():
        raise UsageError("the model has no name: give one from `vitpose models`, a hub id, a file or a folder")
    if name.startswith(RANDOM):
        spec = published_spec(name.removeprefix(RANDOM))
        log.warning("%s: the weights are random, so the poses mean nothing; this is for trying things out only", name)
        return _from_object(create_model(spec, seed=0), name, skeleton)
    return load_model(name, dataset=dataset, skeleton=None if skeleton is None else load_skeleton(skeleton))


def _from_object(model: VitPose, name: str, skeleton: str | Path | Skeleton | None) -> LoadedModel:
    given = None if skeleton is None else load_skeleton(skeleton)
    skeletons = {head.dataset: given or load_skeleton(head.skeleton) for head in model.spec.heads}
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        # Bytes, because numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return LoadedModel(
        model=model, skeletons=skeletons, name=name, source=name, sha256=digest.hexdigest(), assumptions=()
    )


def _heads(loaded: LoadedModel, engine: Any, device: str, dataset: str | None) -> dict[str, Head]:
    """Build one ``Head`` a dataset; all engines share the weights."""
    if not isinstance(engine, str):
        return _given_engine(loaded, engine, dataset)
    if engine == "auto":
        first = AutoEngine(loaded.model, loaded.skeletons, device=device, digest=loaded.sha256)
    else:
        first = make_engine(engine, loaded.model, device=device)
    return {spec.dataset: _head(loaded, spec, first.for_dataset(spec.dataset)) for spec in loaded.model.spec.heads}


def _head(loaded: LoadedModel, spec: HeadSpec, engine: Engine) -> Head:
    skeleton = loaded.skeletons[spec.dataset]
    return Head(spec, skeleton, engine, from_metadata(loaded.metadata, spec.dataset, skeleton, loaded.name))


def _exported(
    path: str | Path, skeleton: str | Path | Skeleton | None, engine: Any, device: str
) -> tuple[dict[str, Head], Provenance]:
    """An exported file runs itself, with the runtime it was made for, or, an ``.onnx`` file, with OpenVINO."""
    runs = open_exported(path, engine=engine, device="cpu" if device == "auto" else device)
    words = runs.description
    named = words.skeleton if skeleton is None else load_skeleton(skeleton)
    provenance = Provenance(name=words.spec.name, sha256=words.source, version=__version__)
    metadata = {CALIBRATION: {words.head.dataset: words.calibration}}
    known = from_metadata(metadata, words.head.dataset, named, str(path))
    return {words.head.dataset: Head(words.head, named, runs, known)}, provenance


def _given_engine(loaded: LoadedModel, engine: Engine, dataset: str | None) -> dict[str, Head]:
    """An engine that was handed in runs one head: the one asked for, the one it names, or the only one that fits."""
    heads = loaded.model.spec.heads
    wanted = dataset or getattr(engine, "dataset", None)
    if wanted is not None:
        spec = loaded.model.spec.head(wanted)
        return {spec.dataset: _head(loaded, spec, engine)}
    fitting = [spec for spec in heads if spec.keypoints == engine.num_keypoints]
    if len(fitting) != 1:
        known = ", ".join(f"{spec.dataset} ({spec.keypoints})" for spec in heads)
        raise UsageError(
            f"the engine gives {engine.num_keypoints} keypoints, and {len(fitting)} heads of {loaded.name!r} have as"
            f" many ({known}): say which with dataset="
        )
    return {fitting[0].dataset: _head(loaded, fitting[0], engine)}


def _threshold(threshold: float | Sequence[float] | Mapping[str, float], skeleton: Skeleton) -> Threshold:
    """Read a threshold; names and numbers are those of ``skeleton``, and ``*`` stands for all others."""
    if isinstance(threshold, Mapping):
        named = {name: float(value) for name, value in threshold.items() if name != "*"}
        for name in named:
            skeleton.index(name)
        return Threshold(float(threshold.get("*", 0.3)), tuple(named.items()))
    if isinstance(threshold, (int, float)):
        return Threshold(float(threshold))
    if len(threshold) != len(skeleton):
        raise UsageError(f"{len(threshold)} thresholds for {len(skeleton)} keypoints of {skeleton.name!r}")
    return Threshold(by_name=tuple(zip(skeleton.keypoints, map(float, threshold), strict=True)))
