"""Which keypoints a head of a foreign file stands for, and what had to be assumed to say so.

Foreign files carry the number of heatmaps and seldom anything else. What is missing comes from the caller, else from
the tables here, and every guess is written down for the caller to read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Final

from vitpose.core.errors import InputError, UsageError, WeightsError, nearest
from vitpose.core.skeleton import Skeleton, builtin_skeletons, load_skeleton
from vitpose.models.variants import HeadSpec
from vitpose.weights.catalog import list_models

SHARED_ORDER: Final = ("coco", "aic", "mpii", "crowdpose")
"""Datasets of the published multi-dataset models without experts, in the order of their heads."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A head, its skeleton, and what was assumed to name them."""

    spec: HeadSpec
    skeleton: Skeleton
    assumptions: tuple[str, ...] = ()


@cache
def known_heads() -> Mapping[str, HeadSpec]:
    """Return the heads of the catalogue by dataset; where two have as many keypoints, the first is the likelier one."""
    found: dict[str, HeadSpec] = {}
    # Our own files say what they are; a foreign one is likelier to be of a published set than of ours.
    for row in sorted(list_models(), key=lambda one: bool(one.packaged)):
        for head in row.heads:
            found.setdefault(head.dataset, replace(head, expert=0, kind="classic"))
    return MappingProxyType(found)


def head_for(
    keypoints: int, where: str, *, dataset: str | None = None, skeleton: Skeleton | str | None = None
) -> KnownHead:
    """Name a head by what the caller says, else by its number of keypoints.

    Args:
        keypoints: number of heatmaps.
        where: the file, for messages.
        dataset: what the caller says it was trained on.
        skeleton: what the caller says its keypoints are.

    Raises:
        WeightsError: no skeleton has that many keypoints, or the one that was given has another number.
        UsageError: an unknown dataset without a skeleton.
    """
    if skeleton is not None:
        return _from_skeleton(load_skeleton(skeleton), keypoints, where, dataset)
    if dataset is not None:
        return _from_dataset(dataset, keypoints, where)
    for head in known_heads().values():
        if head.keypoints == keypoints:
            words = f"assumed {head.dataset.upper()} order because K = {keypoints}; pass dataset=... to say otherwise"
            return KnownHead(head, load_skeleton(head.skeleton), (words,))
    fitting = [name for name in builtin_skeletons() if len(load_skeleton(name)) == keypoints]
    if len(fitting) == 1:
        known = _from_skeleton(load_skeleton(fitting[0]), keypoints, where, None)
        words = f"assumed skeleton {fitting[0]} because K = {keypoints}; pass skeleton=... to say otherwise"
        return replace(known, assumptions=(words, *known.assumptions))
    choice = f"pass skeleton=NAME, one of {', '.join(fitting)}" if fitting else "pass skeleton=FILE.toml"
    raise WeightsError(f"{where} has {keypoints} heatmaps and does not say what they are: {choice}")


def _from_skeleton(skeleton: Skeleton, keypoints: int, where: str, dataset: str | None) -> KnownHead:
    _check_count(len(skeleton), keypoints, where, f"skeleton {skeleton.name!r}")
    for head in known_heads().values():
        if head.dataset == dataset or (dataset is None and head.skeleton == skeleton.name):
            return KnownHead(replace(head, skeleton=skeleton.name, keypoints=keypoints), skeleton)
    spec = HeadSpec(dataset=dataset or skeleton.name, skeleton=skeleton.name, keypoints=keypoints)
    words = f"assumed that the head for {spec.dataset} was trained unbiased (UDP), as for COCO"
    return KnownHead(spec, skeleton, (words,))


def _from_dataset(dataset: str, keypoints: int, where: str) -> KnownHead:
    if dataset in known_heads():
        head = known_heads()[dataset]
        _check_count(head.keypoints, keypoints, where, f"dataset {dataset!r}")
        return KnownHead(head, load_skeleton(head.skeleton))
    if dataset in builtin_skeletons():
        return _from_skeleton(load_skeleton(dataset), keypoints, where, dataset)
    raise UsageError(f"unknown dataset {dataset!r}{nearest(dataset, known_heads())} (or pass skeleton=... with it)")


def _check_count(expected: int, keypoints: int, where: str, what: str) -> None:
    if expected != keypoints:
        raise WeightsError(f"{where} has {keypoints} heatmaps, but {what} has {expected} keypoints; pass another one")


def skeleton_from_names(names: Sequence[str], edges: Sequence[Sequence[int]], name: str, where: str) -> Skeleton:
    """Return the built-in skeleton with these keypoints in this order, or make one.

    Args:
        names: keypoints; case, blanks and short forms (``L_Eye`` for ``left_eye``) do not matter for the comparison.
        edges: pairs of positions, for a skeleton that has to be made.
        name: what such a skeleton is called.
        where: the file, for messages.

    Raises:
        WeightsError: names and edges make no skeleton.
    """
    order = dict.fromkeys([*(head.skeleton for head in known_heads().values()), *builtin_skeletons()])
    for simplify in (str.lower, _simple_name):
        wanted = [simplify(keypoint) for keypoint in names]
        for candidate in map(load_skeleton, order):
            if [simplify(keypoint) for keypoint in candidate.keypoints] == wanted:
                return candidate
    try:
        pairs = [[names[first], names[second]] for first, second in edges]
        return Skeleton.from_dict({"name": name, "keypoints": list(names), "edges": pairs}, where=where)
    except (InputError, IndexError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the keypoint names in {where} make no skeleton ({error}); pass skeleton=FILE.toml"
        ) from error


def _simple_name(name: str) -> str:
    plain = re.sub(r"[\s\-]+", "_", name.strip().lower())
    return re.sub(r"^r_", "right_", re.sub(r"^l_", "left_", plain))
