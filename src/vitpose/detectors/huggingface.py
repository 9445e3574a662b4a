"""Object detectors from the Hugging Face hub or a local folder, run without torchvision."""

import copy
import hashlib
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitpose.core.errors import UsageError, WeightsError, nearest
from vitpose.core.geometry import Size
from vitpose.core.hub import hub_is_reachable
from vitpose.core.poses import Boxes
from vitpose.core.similarity import iou_matrix
from vitpose.detectors.base import Image
from vitpose.detectors.preprocess import Preprocess, load_preprocess
from vitpose.models.devices import pick_device

DEFAULT_DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"
"""RT-DETR with a ResNet-50, trained on COCO and Objects365; code and weights Apache-2.0. ViTPose's model card uses it.

The D-FINE models of ``ustc-community`` and Roboflow's RF-DETR, Apache-2.0 too, work the same way.
"""

DUPLICATE_IOU = 0.85
"""Boxes that overlap more are one animal seen as two (a cow also taken for a horse); the better one is kept."""


class _Found(NamedTuple):
    boxes: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.intp]


class HuggingFaceDetector:
    """Any object detector of transformers that gives classes and boxes: RT-DETR, D-FINE, RF-DETR, LW-DETR, DETR.

    Boxes come best first, clipped to the picture. A query of the network gives at most one box: that of the likeliest
    of the wanted classes.
    """

    def __init__(
        self,
        name_or_path: str | Path = DEFAULT_DETECTOR,
        *,
        threshold: float = 0.3,
        classes: Sequence[str] = ("person",),
        device: str | torch.device = "auto",
        max_people: int | None = None,
        batch_size: int = 8,
    ) -> None:
        """Load the detector.

        Args:
            name_or_path: hub id or local folder.
            threshold: boxes with a lower score are left out. 0.3 is the model card's: a person that is missed cannot
                be had back, and every box carries its score.
            classes: names of what to look for, as the model's own list has them; upper or lower case.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            max_people: keep only so many boxes a picture, the best ones.
            batch_size: pictures a call of the network.

        Raises:
            UsageError: the model does not know one of the classes, or a number is out of range.
            WeightsError: the detector is not to be had, incomplete, or of a kind that is not supported.
        """
        if not 0 <= threshold <= 1:
            raise UsageError(f"the detector's threshold must be between 0 and 1, not {threshold}")
        if batch_size < 1 or (max_people is not None and max_people < 1):
            raise UsageError("batch_size and max_people must be at least 1")
        self.threshold = threshold
        self.max_people = max_people
        self._batch_size = batch_size
        self._device = pick_device(device)
        self._source = str(name_or_path)
        model, self._preprocess = _load(self._source)
        self.name = f"{self._source} {_revision(self._source, model)}".rstrip()
        self._names = {int(index): str(label) for index, label in model.config.id2label.items()}
        self._classes = _class_indices(self._names, classes, self._source)
        self._labels = tuple(self._names[index] for index in self._classes)
        self._no_object = len(self._names)
        self._model = model.to(self._device).eval()
        self._inputs = frozenset(inspect.signature(model.forward).parameters)

    def __call__(self, images: Sequence[Image]) -> list[Boxes]:
        """Find the wanted classes in each picture; see ``Detector``."""
        found: dict[int, Boxes] = {}
        for positions, inputs in self._batches(images):
            with torch.inference_mode():
                outputs = self._model(
                    **{key: value.to(self._device) for key, value in inputs.items() if key in self._inputs}
                )
            scores = self._scores(outputs.logits)
            for row, position in enumerate(positions):
                size = Size(*images[position].shape[:2])
                found[position] = self._select(_scaled(scores[row], outputs.pred_boxes[row], size))
        return [found[position] for position in range(len(images))]

    def for_classes(self, classes: Sequence[str]) -> "HuggingFaceDetector":
        """Return a detector that looks for other classes with the same network.

        Raises:
            UsageError: the model does not know one of them.
        """
        other = copy.copy(self)
        other._classes = _class_indices(self._names, classes, self._source)
        other._labels = tuple(self._names[index] for index in other._classes)
        return other

    def _batches(self, images: Sequence[Image]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield batches of pictures that have one size after preprocessing: no padding, so no effect on each other."""
        waiting: dict[tuple[int, ...], list[tuple[int, dict[str, Tensor]]]] = defaultdict(list)
        for position, image in enumerate(images):
            inputs = self._preprocess(image)
            group = waiting[tuple(inputs["pixel_values"].shape)]
            group.append((position, inputs))
            if len(group) == self._batch_size:
                yield _stack(group)
                group.clear()
        yield from (_stack(group) for group in waiting.values() if group)

    def _scores(self, logits: Tensor) -> NDArray[np.float32]:
        """Return ``(batch, queries, wanted classes)`` scores.

        A network with an extra class for "nothing" was trained with a softmax and means its likeliest class only
        (DETR, YOLOS); one without was trained with a sigmoid a class (Deformable DETR and all that came after).
        """
        logits = logits.float()
        if logits.shape[-1] == self._no_object + 1:
            every = logits.softmax(-1)[..., : self._no_object]
            every = torch.where(every == every.amax(-1, keepdim=True), every, 0.0)
        else:
            every = logits.sigmoid()
        scores: NDArray[np.float32] = every[..., list(self._classes)].cpu().numpy()
        return scores

    def _select(self, found: _Found) -> Boxes:
        extents = found.boxes[:, 2:] - found.boxes[:, :2]
        good = (found.scores >= self.threshold) & (extents > 0).all(axis=1)
        order = np.flatnonzero(good)[np.argsort(-found.scores[good], kind="stable")]
        kept = order[_distinct(found.boxes[order], found.labels[order])][: self.max_people]
        labels = tuple(self._labels[index] for index in found.labels[kept])
        return Boxes(found.boxes[kept].astype(np.float32), found.scores[kept], labels)


def _scaled(scores: NDArray[np.float32], boxes: Tensor, size: Size) -> _Found:
    """Turn centre, width, height in 0..1 into xyxy in picture pixels, and take the best class of each query."""
    center, extent = np.split(boxes.float().cpu().numpy().astype(np.float64), 2, axis=-1)
    corners = np.concatenate([center - extent / 2, center + extent / 2], axis=-1)
    limits = [size.width, size.height, size.width, size.height]
    # Rounded before the extents are looked at: two float64 corners may be one number in float32.
    pixels = np.clip(corners * limits, 0, limits).astype(np.float32).astype(np.float64)
    return _Found(pixels, scores.max(axis=-1), scores.argmax(axis=-1))


def _distinct(boxes: NDArray[np.float64], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions of the boxes, best first, that are not a better one's duplicate.

    Only boxes of different classes can be: two people in an embrace are two, and such a network does not repeat itself.
    """
    overlap = (iou_matrix(boxes, boxes) > DUPLICATE_IOU) & (labels[:, None] != labels[None])
    kept: list[int] = []
    for position in range(len(boxes)):
        if not overlap[position, kept].any():
            kept.append(position)
    return np.array(kept, dtype=np.intp)


def _stack(group: Sequence[tuple[int, dict[str, Tensor]]]) -> tuple[list[int], dict[str, Tensor]]:
    positions = [position for position, _ in group]
    return positions, {key: torch.cat([inputs[key] for _, inputs in group]) for key in group[0][1]}


def _load(name: str) -> tuple[Any, Preprocess]:
    from transformers import AutoModelForObjectDetection

    # Out of reach, the hub's client would retry for half a minute: the cache has the files, or nobody has.
    local = Path(name).is_dir() or not hub_is_reachable()
    try:
        model, report = AutoModelForObjectDetection.from_pretrained(
            name, output_loading_info=True, dtype=torch.float32, local_files_only=local
        )
        preprocess = load_preprocess(name, model.config.model_type, local=local)
    except Exception as error:  # It reads files of others, and every kind of damage has an exception of its own.
        raise WeightsError(f"the detector {name!r} cannot be loaded: {_reason(error)}; {_WAYS_OUT}") from error
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        raise WeightsError(
            f"the detector {name!r} is incomplete: {len(absent)} weights such as {absent[0]!r} are missing"
        )
    return model, preprocess


def _revision(name: str, model: Any) -> str:
    """Return what tells this copy of a detector from others: the hub's commit, or the hash of a folder's weights."""
    files = sorted(Path(name).glob("*.safetensors")) + sorted(Path(name).glob("*.bin"))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    commit = getattr(model.config, "_commit_hash", None) or ""
    return (digest.hexdigest() if files else str(commit))[:12]


_WAYS_OUT = (
    "with a network connection it is fetched from huggingface.co; without, give the folder of a copy as --detector,"
    " bring boxes with --boxes FILE, or take the whole picture as the box with --detector whole"
)


def _reason(error: Exception) -> str:
    first = str(error).strip().split("\n", 1)[0]
    return first.rstrip(".") or type(error).__name__


def _class_indices(names: Mapping[int, str], wanted: Sequence[str], model: str) -> tuple[int, ...]:
    """Positions of the wanted classes in the model's list.

    Raises:
        UsageError: a class the model does not know; the nearest one is named.
    """
    if isinstance(wanted, str) or not wanted:
        raise UsageError(f"classes must be a list of names, not {wanted!r}")
    known = {label.casefold(): index for index, label in sorted(names.items(), reverse=True)}
    for name in wanted:
        if name.casefold() not in known:
            raise UsageError(f"the detector {model!r} does not know {name!r}{nearest(name, names.values())}")
    return tuple(dict.fromkeys(known[name.casefold()] for name in wanted))
