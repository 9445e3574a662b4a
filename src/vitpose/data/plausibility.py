"""How plausible labels are, judged by the other labels of the same set: no picture and no model is needed.

Left and right: for each mirror pair a logistic regression learns, from the set itself, which features of a pose say
that the pair's left is left. All features change their sign when the two points of the pair change places, so the
model needs no constant and no examples of swapped pairs; its log-odds say how much more the pose is like the others as
labelled than with the two exchanged.

Lengths: each edge over the person's size, which is the median of their edges over the usual ones. Foreshortening makes
edges short and never long, so only the long side is judged.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vitpose.core.skeleton import Skeleton

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ENOUGH_PEOPLE = 50
"""Fewer people with both points of a pair labelled teach nothing about it."""

_RIDGE = 3.0
_ROUNDS = 12
_FEWEST_EDGES = 4
_SHORTEST = 0.01
"""Shortest edge over the person's size that is told from none at all."""

_FEW_PAIRS = 10
_NEAR = 9
"""How many other parts of the body a pair is compared with: more would say the same again."""


class Poses(NamedTuple):
    """Labelled points of a set: ``(people, keypoints, 2)`` pixels and ``(people, keypoints)`` labelled or not."""

    xy: Floats
    labelled: Mask


def swap_groups(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Return what may have changed sides together, positions in ``flip_pairs`` by name.

    Each pair alone and, where there are at most 10, the pairs of the upper body, those of the rest, and all of them.
    """
    pairs = skeleton.flip_pairs
    groups: dict[str, tuple[int, ...]] = {f"{left} / {right}": (index,) for index, (left, right) in enumerate(pairs)}
    upper = tuple(index for index, (left, _) in enumerate(pairs) if left in skeleton.upper_body)
    lower = tuple(index for index in range(len(pairs)) if index not in upper)
    larger = {"the upper body": upper, "the lower body": lower, "the whole body": tuple(range(len(pairs)))}
    if len(pairs) > _FEW_PAIRS:
        return groups
    return groups | {name: group for name, group in larger.items() if len(group) > 1}


def swap_odds(poses: Poses, skeleton: Skeleton) -> Floats:
    """Return ``(people, groups)`` log-odds that each of ``swap_groups`` is labelled the right way round.

    NaN where no pair of the group is labelled whole, or too few people have one.
    """
    pairs = np.array([[skeleton.index(name) for name in pair] for pair in skeleton.flip_pairs], dtype=np.int64)
    groups = list(swap_groups(skeleton).values())
    odds = np.full((len(poses.xy), len(groups)), np.nan)
    for column, group in enumerate(groups):
        known = np.count_nonzero(poses.labelled[:, pairs[list(group)]].all(axis=2), axis=1)
        rows = np.flatnonzero(known >= min(len(group), 2))
        if len(rows) >= ENOUGH_PEOPLE:
            features = _features(Poses(poses.xy[rows], poses.labelled[rows]), pairs, group)
            odds[rows, column] = features @ _fit(features)
    return odds


def _features(poses: Poses, pairs: NDArray[np.int64], group: tuple[int, ...]) -> Floats:
    """Return ``(people, features)`` that change sign when the points of the pairs in ``group`` change places."""
    size = _size(poses)[:, None]
    single = [index for index in range(poses.xy.shape[1]) if index not in set(pairs.ravel().tolist())]
    ends = poses.xy[:, pairs] / size[..., None, None]
    whole = poses.labelled[:, pairs].all(axis=2)
    across = ends[:, :, 0] - ends[:, :, 1]
    middles = np.concatenate([ends.mean(axis=2), poses.xy[:, single] / size[..., None]], axis=1)
    there = np.concatenate([whole, poses.labelled[:, single]], axis=1).astype(np.float64)
    seen = _seen(poses, pairs, single)
    parts: list[Floats] = []
    for at in group:
        for other in _nearest(middles, there, at):
            both = (there[:, at] * there[:, other])[:, None]
            if other < len(pairs) and other not in group:
                alike = (across[:, at] * across[:, other]).sum(axis=1)
                parts.append(np.stack([alike, _crossed(ends, at, other)], axis=1) * both)
            # Which way a pair points, seen along the line to some middle of the body, tells front from back; what of
            # the body is labelled, the face above all, tells it too.
            along = middles[:, other] - middles[:, at]
            turn = across[:, at, 0] * along[:, 1] - across[:, at, 1] * along[:, 0]
            parts.append(turn[:, None] * both * seen)
    features = np.concatenate(parts, axis=1) if parts else np.zeros((len(ends), 0))
    spread = np.sqrt(np.mean(features**2, axis=0))
    scaled: Floats = np.divide(features, spread, out=np.zeros_like(features), where=spread > 0)
    return np.clip(scaled, -4, 4)


def _seen(poses: Poses, pairs: NDArray[np.int64], single: list[int]) -> Floats:
    """Return a column of ones and, for skeletons with few pairs, what of each pair and single point is labelled.

    Which side of a pair is labelled is left out: these columns must not change with the sides.
    """
    ones = np.ones((len(poses.xy), 1))
    if len(pairs) > _FEW_PAIRS:
        return ones
    parts = [poses.labelled[:, pairs].mean(axis=2), poses.labelled[:, single].astype(np.float64)]
    shares: Floats = np.concatenate(parts, axis=1)
    return np.concatenate([ones, shares - np.mean(shares, axis=0)], axis=1)


def _nearest(middles: Floats, there: Floats, at: int) -> list[int]:
    """Return the middles that are usually nearest to middle ``at``, itself left out."""
    distances = np.linalg.norm(middles - middles[:, at, None], axis=2)
    known = there * there[:, at, None]
    usual = (distances * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1e-9)
    usual[known.sum(axis=0) == 0] = np.inf
    order: list[int] = np.argsort(usual).tolist()
    return [other for other in order if other != at][:_NEAR]


def _crossed(ends: Floats, at: int, other: int) -> Floats:
    """Return how much longer the limbs between two pairs would be if one of the pairs changed sides."""
    direct = np.linalg.norm(ends[:, at] - ends[:, other], axis=2).sum(axis=1)
    exchanged = np.linalg.norm(ends[:, at] - ends[:, other, ::-1], axis=2).sum(axis=1)
    longer: Floats = exchanged - direct
    return longer


def _fit(features: Floats) -> Floats:
    """Return the weights of a ridge logistic regression without constant, every row being a positive example."""
    weights = np.zeros(features.shape[1])
    ridge = _RIDGE * np.eye(features.shape[1])
    for _ in range(_ROUNDS):
        doubt = 1 / (1 + np.exp(np.clip(features @ weights, -30, 30)))
        gradient = features.T @ doubt - _RIDGE * weights
        curvature = (features * (doubt * (1 - doubt))[:, None]).T @ features + ridge
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights


def _size(poses: Poses) -> Floats:
    """Return ``(people,)`` the diagonal of each person's labelled points, at least a pixel."""
    there = poses.labelled[..., None]
    high: Floats = np.where(there, poses.xy, -np.inf).max(axis=1)
    low: Floats = np.where(there, poses.xy, np.inf).min(axis=1)
    return np.maximum(np.where(poses.labelled.any(axis=1), np.linalg.norm(high - low, axis=1), 1.0), 1.0)


def edge_excess(poses: Poses, skeleton: Skeleton) -> Floats:
    """Return ``(people, edges)`` how much longer each edge is than usual, in units of the usual spread.

    The unit is the distance from the median to the 90th percentile of the logarithm of the edge's relative length. NaN
    where an end is not labelled, fewer than 4 edges of the person are, or fewer than 50 people have the edge.
    """
    edges = skeleton.edge_indices
    excess = np.full((len(poses.xy), len(edges)), np.nan)
    if len(edges) < _FEWEST_EDGES or not len(poses.xy):
        return excess
    known: Mask = np.all(poses.labelled[:, edges], axis=2)
    lengths = np.linalg.norm(poses.xy[:, edges[:, 0]] - poses.xy[:, edges[:, 1]], axis=2)
    logs = np.where(known, np.log(np.maximum(lengths / _size(poses)[:, None], _SHORTEST)), np.nan)
    enough: Mask = np.asarray(np.count_nonzero(known, axis=1)) >= _FEWEST_EDGES
    usable = np.flatnonzero(known[enough].sum(axis=0) >= ENOUGH_PEOPLE)
    if not len(usable):
        return excess
    relative = logs[enough][:, usable]
    for _ in range(3):
        usual = np.nanmedian(relative, axis=0)
        nothing = np.isnan(relative).all(axis=1, keepdims=True)
        with_usual = np.where(nothing, 0.0, relative - usual)
        relative = relative - np.nanmedian(with_usual, axis=1)[:, None]
    middle, high = np.nanquantile(relative, [0.5, 0.9], axis=0)
    values = (relative - middle) / np.maximum(high - middle, 0.02)
    excess[np.ix_(np.flatnonzero(enough), usable)] = values
    return excess
