"""Which keypoint of one skeleton is which of another, by name and not by position."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.skeleton import Skeleton

_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*|\d+")
_SHORT = {"l": "left", "r": "right", "f": "front", "b": "back"}


def same_name(keypoint: str) -> tuple[str, ...]:
    """Return what two spellings of one keypoint have in common: words without case, separators or order.

    ``L_Eye``, ``left_eye``, ``Left Eye`` and ``eyeL`` agree, and so do ``top_head`` and ``head_top``, ``L_F_Paw`` and
    ``left_front_paw``.
    """
    words = [word.lower() for word in _WORD.findall(keypoint)]
    return tuple(sorted(_SHORT.get(word, word) for word in words))


def positions_by_name(wanted: Sequence[str], given: Sequence[str]) -> NDArray[np.int64]:
    """Return ``(wanted,)`` positions in ``given``, -1 where it has no keypoint of that name.

    A name that several keypoints of one side share after its spelling is evened out is matched letter by letter only.
    """
    exact = {name: index for index, name in enumerate(given)}
    counts = Counter(same_name(name) for name in given)
    wanted_counts = Counter(same_name(name) for name in wanted)
    alike = {same_name(name): index for index, name in enumerate(given) if counts[same_name(name)] == 1}
    found = [
        exact.get(name, alike.get(same_name(name), -1) if wanted_counts[same_name(name)] == 1 else -1)
        for name in wanted
    ]
    return np.array(found, dtype=np.int64)


def skeleton_positions(wanted: Skeleton, given: Skeleton) -> NDArray[np.int64]:
    """Return ``positions_by_name`` of two skeletons.

    Raises:
        UsageError: they have no keypoint in common.
    """
    positions = positions_by_name(wanted.keypoints, given.keypoints)
    if (positions < 0).all():
        raise UsageError(
            f"skeletons {given.name!r} and {wanted.name!r} have no keypoint name in common:"
            f" {', '.join(given.keypoints[:4])} … against {', '.join(wanted.keypoints[:4])} …"
        )
    return positions
