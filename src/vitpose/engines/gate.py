"""Does another engine find the same keypoints as the reference, on real crops?

The reference is PyTorch in fp32. Shifts are in pixels of the heatmap, the grid a model answers on, so that the limits
mean the same at every input size; one heatmap pixel is four crop pixels. A keypoint that the reference is not sure of
has no place to be compared, and is left out.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.codec.codec import Codec
from vitpose.core.errors import GateError, UsageError
from vitpose.core.geometry import CONTEXT, Size
from vitpose.core.similarity import oks_matrix
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops
from vitpose.metrics.bootstrap import Interval, paired_bootstrap

Floats = NDArray[np.float64]

SURE = 0.2
"""Score of the reference from which a keypoint is compared: what the papers count in a pose's score (section 7.5)."""

FEWEST = 0.01
"""Share of keypoints the reference must be sure of; below it all are compared, and the report says so."""

_BODY = 0.53
"""A person's area as a share of the box, as COCO-style evaluators without segmentation have it."""


class Runs(Protocol):
    """What is compared: any engine."""

    @property
    def name(self) -> str:
        """For the report."""

    @property
    def input_size(self) -> Size:
        """Size of the crops in pixels."""

    @property
    def heatmap_size(self) -> Size:
        """Size of the heatmaps in pixels."""

    def __call__(self, crops: Crops) -> NDArray[np.float32]:
        """Return heatmaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far another engine's keypoints may be from the reference's.

    Attributes:
        p50: median shift of all keypoints, in heatmap pixels.
        p99: 99th percentile.
        keypoint_p50: median of any single keypoint.
        oks: how much the mean similarity to the truth (or to the reference itself) may fall; the lower end of the
            bootstrap interval counts.
    """

    p50: float = 0.125
    p99: float = 1.0
    keypoint_p50: float = 0.25
    oks: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointShift:
    """How far one keypoint moved, in heatmap pixels."""

    keypoint: str
    counted: int
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The comparison of an engine with the reference.

    Attributes:
        engine: what was compared.
        reference: with what.
        crops: number of crops.
        counted: keypoints compared.
        all_counted: the reference was sure of next to nothing, so every keypoint was compared.
        p50: median shift in heatmap pixels.
        p99: 99th percentile.
        max: largest.
        keypoints: the same by keypoint, worst first.
        oks: similarity to the truth of reference and engine, with the bootstrap interval of the difference.
        against_labels: the truth is labels; otherwise it is the reference's own poses, and its similarity is 1.
        failures: limits that were not kept; empty means passed.
        note: what else there is to say about the engine.
    """

    engine: str
    reference: str
    crops: int
    counted: int
    all_counted: bool
    p50: float
    p99: float
    max: float
    keypoints: tuple[KeypointShift, ...]
    oks: Interval
    against_labels: bool
    failures: tuple[str, ...]
    note: str = ""

    @property
    def passed(self) -> bool:
        """All limits were kept."""
        return not self.failures

    @property
    def summary(self) -> str:
        """One line."""
        return (
            f"{self.engine} against {self.reference} on {self.crops} crops: shift median {self.p50:.3f}, 99 %"
            f" {self.p99:.3f}, largest {self.max:.2f} heatmap pixels; OKS {self.oks.difference:+.4f}"
            f" [{self.oks.low:+.4f}, {self.oks.high:+.4f}]"
            + ("; the reference was hardly sure of any, so all keypoints were compared" if self.all_counted else "")
            + (f"; not compared, for the reference was sure of none: {self._uncompared}" if self._uncompared else "")
            + (f"; {self.note}" if self.note else "")
        )

    @property
    def _uncompared(self) -> str:
        names = [row.keypoint for row in self.keypoints if not row.counted]
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    def check(self) -> "Report":
        """Return the report if it passed.

        Raises:
            GateError: it did not; the limits and the worst keypoints are named.
        """
        if self.passed:
            return self
        worst = ", ".join(f"{entry.keypoint} (median {entry.p50:.2f}, 99 % {entry.p99:.2f})" for entry in self.worst())
        raise GateError(f"{self.summary}: {'; '.join(self.failures)}; worst keypoints: {worst}")

    def worst(self, count: int = 5) -> tuple[KeypointShift, ...]:
        """Return the keypoints that moved most."""
        return self.keypoints[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"oks": self.oks.to_dict(), "passed": self.passed}


@dataclass(frozen=True, slots=True)
class Found:
    """Keypoints of some crops: ``xy`` (people, keypoints, 2) in crop pixels, ``scores`` (people, keypoints)."""

    xy: Floats
    scores: Floats


def find(engine: Runs, crops: Crops, codec: Codec) -> Found:
    """Run an engine and read its heatmaps."""
    xy, scores = codec.decode(torch.from_numpy(engine(crops)), engine.input_size)
    return Found(xy.numpy().astype(np.float64), scores.numpy().astype(np.float64))


def compare(
    reference: Runs,
    engine: Runs,
    crops: Crops,
    *,
    skeleton: Skeleton,
    codec: Codec,
    limits: Limits | None = None,
    truth: tuple[NDArray[np.floating], NDArray[np.integer]] | None = None,
) -> Report:
    """Compare an engine with the reference.

    Args:
        reference: usually ``EagerEngine(model, device="cpu", dtype="fp32")``.
        engine: the other one.
        crops: ``(people, height, width, 3)`` uint8 of real people; 32 and more say something.
        skeleton: names and OKS constants.
        codec: reads the heatmaps.
        limits: the default ones if not given.
        truth: ``(people, keypoints, 2)`` labels in crop pixels and ``(people, keypoints)`` above 0 where labelled.

    Raises:
        UsageError: no crops.
    """
    expected, found = find(reference, crops, codec), find(engine, crops, codec)
    names = (engine.name, reference.name)
    return judge(
        expected,
        found,
        names,
        sizes=(engine.input_size, engine.heatmap_size),
        skeleton=skeleton,
        limits=limits,
        truth=truth,
    )


def judge(
    expected: Found,
    found: Found,
    names: tuple[str, str],
    *,
    sizes: tuple[Size, Size],
    skeleton: Skeleton,
    limits: Limits | None = None,
    truth: tuple[NDArray[np.floating], NDArray[np.integer]] | None = None,
) -> Report:
    """Compare keypoints that were already found; see ``compare``.

    Args:
        expected: the reference's.
        found: the engine's.
        names: of engine and reference.
        sizes: of crop and heatmap.
        skeleton: names and OKS constants.
        limits: the default ones if not given.
        truth: labels.

    Raises:
        UsageError: no crops.
    """
    if not len(expected.xy):
        raise UsageError("comparing engines needs crops, and there are none")
    limits = limits or Limits()
    crop, heatmap = sizes
    scale = np.array([heatmap.width / crop.width, heatmap.height / crop.height])
    shift = np.linalg.norm((found.xy - expected.xy) * scale, axis=-1)
    counted = expected.scores >= SURE
    unsure = ~counted.any(axis=0)
    all_counted = bool(counted.mean() < FEWEST or unsure.mean() > 0.5)
    counted = np.ones_like(counted) if all_counted else counted
    rows = _by_keypoint(shift, counted, skeleton)
    p50, p99, largest = _quantiles(shift[counted])
    if truth is None:
        points, seen = expected.xy, counted
    else:
        points, seen = np.asarray(truth[0], dtype=np.float64), np.asarray(truth[1]) > 0
    oks = _oks_difference(expected, found, (points, seen), skeleton, crop)
    return Report(
        engine=names[0],
        reference=names[1],
        crops=len(shift),
        counted=int(counted.sum()),
        all_counted=all_counted,
        p50=p50,
        p99=p99,
        max=largest,
        keypoints=rows,
        oks=oks,
        against_labels=truth is not None,
        failures=tuple(_failures(p50, p99, rows, oks, limits)),
    )


def excess(report: Report, limits: Limits) -> float:
    """Return how near to the limits a report is: 1 is at the limit, above fails; of a limit of 0 nothing is near."""
    worst = max((entry.p50 for entry in report.keypoints), default=0.0)
    found = (report.p50, report.p99, worst, -report.oks.low)
    allowed = (limits.p50, limits.p99, limits.keypoint_p50, limits.oks)
    return max(value / limit if limit > 0 else math.inf for value, limit in zip(found, allowed, strict=True))


def _quantiles(shift: Floats) -> tuple[float, float, float]:
    if not len(shift):
        return 0.0, 0.0, 0.0
    if not np.isfinite(shift).all():
        return float("inf"), float("inf"), float("inf")
    p50, p99 = np.quantile(shift, [0.5, 0.99])
    return float(p50), float(p99), float(shift.max())


def _by_keypoint(shift: Floats, counted: NDArray[np.bool_], skeleton: Skeleton) -> tuple[KeypointShift, ...]:
    rows = []
    for index, name in enumerate(skeleton.keypoints):
        chosen = shift[counted[:, index], index]
        p50, p99, largest = _quantiles(chosen)
        rows.append(KeypointShift(keypoint=name, counted=len(chosen), p50=p50, p99=p99, max=largest))
    return tuple(sorted(rows, key=lambda row: (row.p99, row.max), reverse=True))


def _oks_difference(
    expected: Found, found: Found, truth: tuple[Floats, NDArray[np.bool_]], skeleton: Skeleton, crop: Size
) -> Interval:
    """Return the paired difference of the mean OKS, engine minus reference, over people with something to compare."""
    points, seen = truth
    area = _BODY * crop.height * crop.width / CONTEXT**2
    people = np.flatnonzero(seen.any(axis=1))
    if not len(people):
        people = np.arange(len(points))

    def similarity(poses: Found) -> Floats:
        return np.array(
            [
                oks_matrix(
                    points[[person]],
                    np.nan_to_num(poses.xy[[person]], nan=1e9),
                    sigmas=skeleton.sigma_array,
                    areas=area,
                    counted=seen[[person]],
                )[0, 0]
                for person in people
            ]
        )

    first, second = similarity(expected), similarity(found)
    return paired_bootstrap(
        lambda weights: float(np.average(first, weights=weights)),
        lambda weights: float(np.average(second, weights=weights)),
        images=len(people),
    )


def _failures(p50: float, p99: float, rows: tuple[KeypointShift, ...], oks: Interval, limits: Limits) -> list[str]:
    failures = []
    if not p50 <= limits.p50:
        failures.append(f"the median shift is above {limits.p50} heatmap pixels")
    if not p99 <= limits.p99:
        failures.append(f"the 99th percentile is above {limits.p99} heatmap pixels")
    far = [row.keypoint for row in rows if not row.p50 <= limits.keypoint_p50]
    if far:
        shown = ", ".join(far[:5]) + (f" and {len(far) - 5} more" if len(far) > 5 else "")
        failures.append(f"the median is above {limits.keypoint_p50} heatmap pixels for {shown}")
    if not oks.low >= -limits.oks:
        failures.append(f"the similarity of the poses falls by more than {limits.oks}")
    return failures
