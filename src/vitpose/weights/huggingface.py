"""The layout of ``transformers``: a folder with ``config.json`` and ``model.safetensors``, read and written.

Published configurations leave out every field that has its default, so the defaults stand here (transformers 5.x,
``VitPoseConfig`` and ``VitPoseBackboneConfig``). What the layout cannot say, this package writes under the extra key
``vitpose``, which transformers ignores.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor

from vitpose.core.errors import InputError, UsageError, WeightsError
from vitpose.core.files import atomic_path, atomic_write_text
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.pixels import MEAN, STD
from vitpose.models.pose import VitPose
from vitpose.models.variants import BACKBONES, BackboneSpec, HeadSpec, ModelSpec
from vitpose.weights.adapt import from_ours, said_by
from vitpose.weights.heads import KnownHead, head_for, skeleton_from_names
from vitpose.weights.infer import Hints, Inferred, titled
from vitpose.weights.keymaps import IGNORED
from vitpose.weights.storage import to_half

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
OLD_WEIGHTS: Final = "pytorch_model.bin"
PREPROCESSOR: Final = "preprocessor_config.json"

_OWN_KEY: Final = "vitpose"
_MODEL: Final = MappingProxyType({"use_simple_decoder": True, "scale_factor": 4})
_BACKBONE: Final = MappingProxyType(
    {
        "image_size": [256, 192],
        "patch_size": [16, 16],
        "num_channels": 3,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "mlp_ratio": 4,
        "num_experts": 1,
        "part_features": 256,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "qkv_bias": True,
    }
)
_FIXED: Final = MappingProxyType({"num_channels": 3, "hidden_act": "gelu", "qkv_bias": True, "patch_size": [16, 16]})
"""Backbone fields that have one value in every published model, and that this package builds no other of."""


def weight_file(folder: Path) -> Path:
    """Return the file in ``folder`` to read: safetensors if there is one.

    Raises:
        WeightsError: there is none.
    """
    for name in (WEIGHTS, INDEX, OLD_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"{folder} holds no {WEIGHTS} (nor {INDEX} or {OLD_WEIGHTS}): its download did not finish, or it is no model"
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json``.

    Raises:
        WeightsError: it is missing, damaged, or that of another kind of model.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no {CONFIG}, so it is not a model folder of transformers") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot read {path}: {error}; get the folder again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "vitpose" or not isinstance(config, dict):
        raise WeightsError(f"{path} is the configuration of a {kind!r} model, not of a 'vitpose' one")
    return config


def describe(config: Mapping[str, Any], tensors: Mapping[str, Tensor], hints: Hints) -> Inferred:
    """Turn a configuration into a spec; fields that are missing have their defaults.

    Args:
        config: what ``read_config`` gave.
        tensors: of the same folder: they say how many heatmaps there are.
        hints: what the caller says. A skeleton given there counts more than the configuration's; a dataset counts where
            the configuration names no keypoints.

    Raises:
        WeightsError: the configuration asks for something no published model has, or names nothing usable.
    """
    where = hints.where
    plain = {**_MODEL, **config}
    try:
        backbone = {**_BACKBONE, **(plain.get("backbone_config") or {})}
        with said_by(where):
            spec_backbone, size = _backbone_spec(backbone, where)
        if plain["scale_factor"] != 4:
            raise WeightsError(f"{where} enlarges features {plain['scale_factor']} times; published models do 4 times")
        weight = tensors.get("head.conv.weight")
        if weight is None:
            raise WeightsError(f"{where} has no tensor head.conv.weight, so it has no head")
        known = _known_head(plain, len(weight), hints)
        name = hints.name or plain.get(_OWN_KEY, {}).get("name", "")
        with said_by(where):
            head = HeadSpec(**{**asdict(known.spec), "kind": "simple" if plain["use_simple_decoder"] else "classic"})
            spec = titled(ModelSpec(name=name, backbone=spec_backbone, heads=(head,), input_size=size))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, InputError) as error:
        raise WeightsError(f"the configuration in {where} does not make sense ({error}); get it again") from error
    return Inferred(spec, {head.dataset: known.skeleton}, known.assumptions, IGNORED["huggingface"], tensors)


def _backbone_spec(backbone: Mapping[str, Any], where: str) -> tuple[BackboneSpec, Size]:
    for field, value in _FIXED.items():
        found = [backbone[field]] * 2 if field == "patch_size" and isinstance(backbone[field], int) else backbone[field]
        if list(found) != list(value) if isinstance(value, list) else found != value:
            raise WeightsError(f"{where} has {field} = {backbone[field]!r}; published models have {value!r}")
    width, experts = int(backbone["hidden_size"]), int(backbone["num_experts"])
    hidden = int(width * float(backbone["mlp_ratio"]))
    side = backbone["image_size"]
    size = Size(side, side) if isinstance(side, int) else Size(*side)
    drop_path = next((known.drop_path for known in BACKBONES.values() if known.width == width), 0.0)
    spec = BackboneSpec(
        width=width,
        depth=int(backbone["num_hidden_layers"]),
        heads=int(backbone["num_attention_heads"]),
        hidden=0 if hidden == 4 * width else hidden,
        drop_path=drop_path,
        experts=experts if experts > 1 else 0,
        expert_width=int(backbone["part_features"]) if experts > 1 else 0,
        norm_eps=float(backbone["layer_norm_eps"]),
    )
    return spec, size


def _known_head(config: Mapping[str, Any], keypoints: int, hints: Hints) -> KnownHead:
    """Name the head by the caller's skeleton, what this package wrote, the names of its keypoints, or their number."""
    if hints.skeleton is not None:
        return head_for(keypoints, hints.where, dataset=hints.dataset, skeleton=hints.skeleton)
    own = config.get(_OWN_KEY)
    if own is not None:
        with said_by(hints.where):
            return KnownHead(HeadSpec(**own["head"]), Skeleton.from_dict(own["skeleton"], where=hints.where))
    if int((config.get("backbone_config") or {}).get("num_experts", 1)) > 1 and hints.dataset not in (None, "coco"):
        raise UsageError(
            f"{hints.where} holds all experts but only the COCO head, as the ViTPose+ files of Hugging Face do, so it"
            f" has no keypoints of {hints.dataset!r}: that needs the original checkpoint (see `vitpose models`)"
        )
    labels = config.get("id2label") or {}
    names = [str(labels[key]) for key in sorted(labels, key=int)]
    if not names or all(name.startswith("LABEL_") for name in names):
        catalogued = [head for head in hints.heads if head.keypoints == keypoints]
        if len(catalogued) == 1:
            return KnownHead(catalogued[0], load_skeleton(catalogued[0].skeleton))
        return head_for(keypoints, hints.where, dataset=hints.dataset)
    if len(names) != keypoints:
        raise WeightsError(f"{hints.where} names {len(names)} keypoints in id2label, but has {keypoints} heatmaps")
    # Made-up skeletons are called like the model; a head's name is part of the names of its tensors, so without dots.
    title = re.sub(r"[^\w-]+", "_", hints.name or Path(hints.where).name)
    skeleton = skeleton_from_names(names, config.get("edges") or (), title, hints.where)
    return head_for(keypoints, hints.where, skeleton=skeleton)


def save_huggingface(
    folder: str | Path,
    model: VitPose,
    skeleton: Skeleton,
    *,
    dataset: str | None = None,
    half: bool = False,
) -> tuple[str, ...]:
    """Write a model so that ``VitPoseForPoseEstimation.from_pretrained(folder)`` loads it.

    Position row 0, which transformers adds to every token, is zeros: it is folded into the others. Experts are kept.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        model: any number of heads, of which one fits this layout.
        skeleton: of that head.
        dataset: which head; the first if not given.
        half: store float16.

    Returns:
        what the layout could not take along, and how to run an expert other than the first.

    Raises:
        WeightsError: the model has parts this layout has no place for, or weights beyond float16.
        VitPoseError: the folder cannot be written.
    """
    spec, head = model.spec, model.spec.head(dataset)
    _check_fits(spec, head, skeleton)
    one = ModelSpec(name=spec.name, backbone=spec.backbone, heads=(head,), input_size=spec.input_size)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    tensors = from_ours(state, "huggingface", one)
    target = Path(folder)
    with atomic_path(target / WEIGHTS) as temporary:
        save_file(to_half(tensors, WEIGHTS) if half else tensors, temporary, metadata={"format": "pt"})
    texts = {CONFIG: _config(one, head, skeleton, half=half), PREPROCESSOR: _preprocessor(spec.input_size)}
    for name, content in texts.items():
        atomic_write_text(target / name, json.dumps(content, indent=2) + "\n")
    return _notes(spec, head)


def _check_fits(spec: ModelSpec, head: HeadSpec, skeleton: Skeleton) -> None:
    backbone = spec.backbone
    reasons = {
        "windowed attention": any(entry.kind != "full" for entry in backbone.attention),
        f"stride {backbone.stride}": backbone.stride != 16,
        "a stem of convolutions": backbone.stem != "patches",
        f"patch {backbone.patch}": backbone.patch != 16,
        f"a feed-forward width of {backbone.hidden_width}": backbone.hidden_width % backbone.width != 0,
        "a single expert": backbone.experts == 1,
        "maps of places": head.maps != "heatmaps",
        f"deconvolutions of {head.deconv_width} channels": head.kind == "classic" and head.deconv_width != 256,
    }
    odd = [reason for reason, there in reasons.items() if there]
    if odd:
        raise WeightsError(f"model {spec.name!r} does not fit the layout of transformers: it has {', '.join(odd)}")
    if len(skeleton) != head.keypoints:
        raise WeightsError(
            f"skeleton {skeleton.name!r} has {len(skeleton)} keypoints, the head for {head.dataset} {head.keypoints}"
        )


def _config(spec: ModelSpec, head: HeadSpec, skeleton: Skeleton, *, half: bool) -> dict[str, Any]:
    backbone = spec.backbone
    labels = {str(index): name for index, name in enumerate(skeleton.keypoints)}
    return {
        "architectures": ["VitPoseForPoseEstimation"],
        "backbone_config": {
            **_BACKBONE,
            "model_type": "vitpose_backbone",
            "image_size": list(spec.input_size),
            "hidden_size": backbone.width,
            "num_hidden_layers": backbone.depth,
            "num_attention_heads": backbone.heads,
            "mlp_ratio": backbone.hidden_width // backbone.width,
            "num_experts": max(backbone.experts, 1),
            "part_features": backbone.expert_width,
            "layer_norm_eps": backbone.norm_eps,
            "out_indices": [backbone.depth],
            "out_features": [f"stage{backbone.depth}"],
        },
        "dtype": "float16" if half else "float32",
        "edges": skeleton.edge_indices.tolist(),
        "id2label": labels,
        "label2id": {name: int(index) for index, name in labels.items()},
        "model_type": "vitpose",
        "scale_factor": 4,
        "use_simple_decoder": head.kind == "simple",
        _OWN_KEY: {"name": spec.name, "head": asdict(head), "skeleton": skeleton.to_dict()},
    }


def _preprocessor(size: Size) -> dict[str, Any]:
    return {
        "do_affine_transform": True,
        "do_normalize": True,
        "do_rescale": True,
        "image_mean": list(MEAN),
        "image_processor_type": "VitPoseImageProcessor",
        "image_std": list(STD),
        "normalize_factor": 200.0,
        "rescale_factor": 1 / 255,
        "size": {"height": size.height, "width": size.width},
    }


def _notes(spec: ModelSpec, head: HeadSpec) -> tuple[str, ...]:
    others = [other.dataset for other in spec.heads if other.dataset != head.dataset]
    notes = []
    if others:
        notes.append(f"wrote the head for {head.dataset}; the layout has no place for {', '.join(others)}")
    if spec.backbone.experts:
        notes.append(f"transformers needs dataset_index={head.expert} at every call of this model")
    if head.codec != "udp" or head.square_box:
        notes.append(
            f"the head for {head.dataset} was not trained with the crops and decoding of transformers' image processor,"
            " which are always unbiased (UDP): expect slightly shifted keypoints there"
        )
    return tuple(notes)
