"""Where a run's weights begin: a pre-trained backbone, or a trained model whose keypoints carry over by name."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vitpose.core.skeleton import Skeleton
from vitpose.data.matching import positions_by_name
from vitpose.models.pose import VitPose
from vitpose.models.variants import HeadSpec
from vitpose.weights.formats import read_weights
from vitpose.weights.initialize import initialize_from_mae, initialize_from_pose
from vitpose.weights.keymaps import PRE_TRAINED, detect
from vitpose.weights.load import LoadedModel, load_model
from vitpose.weights.locate import locate

_LOG = logging.getLogger(__name__)


def start_from(model: VitPose, skeletons: Mapping[str, Skeleton], source: str | Path) -> tuple[str, ...]:
    """Give ``model`` the weights of ``source``, as far as they fit, and say what was done.

    The backbone always carries over (positions are resized, experts split or folded). A head carries over from the
    loaded model's head for the same dataset, else from the one that shares the most keypoints, if of the same kind: its
    deconvolutions as they are, its last layer keypoint by keypoint where the names match. The rest starts fresh.

    Args:
        model: changed in place.
        skeletons: of its heads by dataset.
        source: catalogue name, hub id or file: a model, or a backbone from masked pre-training.

    Raises:
        WeightsError: the weights are not to be had, or the backbones are of different sizes.
    """
    where = locate(source)
    if where.path.is_file() and where.path.suffix in (".pth", ".pt", ".bin", ".safetensors"):
        raw = read_weights(where.path)
        layout = detect(raw.tensors)
        if layout in PRE_TRAINED:
            return initialize_from_mae(model, raw, layout)
    loaded = load_model(source)
    # The expert goes with the head: which head the first one starts from is known before the backbone is copied.
    first = model.spec.heads[0]
    head = _best_head(skeletons[first.dataset], first, loaded)
    notes = initialize_from_pose(model, loaded.model, loaded.source, None if head is None else head.dataset)
    if loaded.metadata.get("objective") == "masked":
        return (*notes, "the heads start fresh: the source was pre-trained without labels")
    for head in model.spec.heads:
        notes = (*notes, _head_notes(model, skeletons[head.dataset], head, loaded))
    _LOG.info("%s: %s", source, "; ".join(notes))
    return notes


def _head_notes(model: VitPose, skeleton: Skeleton, head: HeadSpec, loaded: LoadedModel) -> str:
    source = _best_head(skeleton, head, loaded)
    if source is None:
        return f"the head for {head.dataset} starts fresh: no head of the source is of its kind"
    matches = matching_keypoints(loaded.skeletons[source.dataset].keypoints, skeleton.keypoints)
    _copy_head(loaded.model.heads[source.dataset], model.heads[head.dataset], matches)
    missing = [name for index, name in enumerate(skeleton.keypoints) if index not in matches]
    fresh = (
        f", {len(missing)} start fresh ({', '.join(missing[:6])}{' …' if len(missing) > 6 else ''})" if missing else ""
    )
    other = "" if source.maps == head.maps else f"; its maps were {source.maps} and become {head.maps}"
    begun = f"the head for {head.dataset} starts from {source.dataset}"
    return f"{begun}: {len(matches)} keypoints match by name{fresh}{other}"


def _best_head(skeleton: Skeleton, head: HeadSpec, loaded: LoadedModel) -> HeadSpec | None:
    fitting = [
        other for other in loaded.model.spec.heads if (other.kind, other.deconv_width) == (head.kind, head.deconv_width)
    ]

    def suits(other: HeadSpec) -> tuple[bool, int]:
        names = loaded.skeletons[other.dataset].keypoints
        return other.dataset == head.dataset, len(matching_keypoints(names, skeleton.keypoints))

    return max(fitting, key=suits, default=None)


def matching_keypoints(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Return for each position in ``new`` the position of the keypoint of that name in ``old``, where there is one."""
    return {index: int(place) for index, place in enumerate(positions_by_name(new, old)) if place >= 0}


@torch.no_grad()
def _copy_head(old: nn.Module, new: nn.Module, matches: Mapping[int, int]) -> None:
    """Copy a head; rows of its last layer by keypoint."""
    theirs: dict[str, Tensor] = old.state_dict()
    for name, value in new.state_dict().items():
        if not name.startswith("out."):
            value.copy_(theirs[name])
            continue
        for mine, other in matches.items():
            value[mine].copy_(theirs[name][other])
