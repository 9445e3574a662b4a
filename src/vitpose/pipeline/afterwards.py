"""The second pass: smoothing that looks into the future, over a journal of any length in flat memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from vitpose.core.poses import Poses
from vitpose.motion.series import poses_from_series, series_from_poses
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.smooth import smooth
from vitpose.pipeline.journal import Journal, Record, read_records, to_line

BLOCK = 512
"""Frames that are smoothed together and written."""

_MARGIN = 64
"""Frames before and after them that are smoothed too, at least, and thrown away."""

_FORGOTTEN = 8.0
"""Time constants after which a filter has forgotten a frame: what is left is below a thousandth."""


def smooth_journal(
    raw: Path, smoothed: Path, settings: SmoothingSettings, *, name: str, source: str, on_demand: bool
) -> None:
    """Write a journal again with smoothed points, and with what they were as ``raw_xy``.

    Args:
        raw: the journal of the first pass.
        smoothed: where to.
        settings: an offline method.
        name: of the results.
        source: as the user gave it.
        on_demand: whether lines say who found the boxes.

    Raises:
        VitPoseError: the disk is full.
    """
    smoothed.unlink(missing_ok=True)
    results = smoothed_records(read_records(raw), settings)
    with Journal(smoothed) as journal:
        while records := list(islice(results, BLOCK)):
            journal.append([to_line(one, name=name, source=source, on_demand=on_demand) for one in records])


def smoothed_records(records: Iterable[Record], settings: SmoothingSettings) -> Iterator[Record]:
    """Yield the records with smoothed poses.

    Each person's curve is smoothed in overlapping blocks. The overlap is as long as the filter remembers, so the
    result is that of the whole curve to far below a pixel.
    """
    reach_s = _reach_s(settings)
    window: list[Record] = []
    start = 0
    for record in records:
        window.append(record)
        stop = start + BLOCK
        if len(window) - stop > _MARGIN and record.time_s - window[stop].time_s >= reach_s:
            yield from _smoothed(window, settings)[start:stop]
            keep = _first_kept(window, stop, reach_s)
            del window[:keep]
            start = stop - keep
    yield from _smoothed(window, settings)[start:]


def _reach_s(settings: SmoothingSettings) -> float:
    """Return how many seconds away a frame still matters to the method."""
    if settings.method == "butterworth":
        return _FORGOTTEN / settings.cutoff_hz
    if settings.method == "savitzky_golay":
        return settings.window_s
    # The Kalman smoother's own frequency is at least the root of acceleration over noise for steps below a second.
    return float(2 * _FORGOTTEN * (settings.noise / settings.acceleration) ** 0.5)


def _first_kept(window: Sequence[Record], stop: int, reach_s: float) -> int:
    """Return the first row that matters to the frames from ``stop`` on."""
    keep = max(stop - _MARGIN, 0)
    while keep > 0 and window[stop].time_s - window[keep].time_s < reach_s:
        keep -= 1
    return keep


def _smoothed(window: Sequence[Record], settings: SmoothingSettings) -> list[Record]:
    # Two frames at one time have no speed between them: the second one keeps its points.
    rows = [i for i, one in enumerate(window) if i == 0 or one.time_s > window[i - 1].time_s]
    poses = [window[i].poses for i in rows]
    tracks = [smooth(one, settings) for one in series_from_poses(poses, [window[i].time_s for i in rows])]
    moved: dict[int, Poses] = dict(zip(rows, poses_from_series(poses, tracks), strict=True))
    return [
        replace(one, poses=replace(one.poses, xy=moved.get(i, one.poses).xy, raw_xy=one.poses.xy))
        for i, one in enumerate(window)
    ]
