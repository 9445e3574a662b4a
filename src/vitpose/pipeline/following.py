"""Who is who and where they really are: tracking and online smoothing, one frame after the other."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, nearest
from vitpose.core.poses import Poses
from vitpose.motion.online import OnlineSmoother
from vitpose.motion.settings import OFFLINE, SmoothingSettings
from vitpose.tracking.base import Tracker
from vitpose.tracking.box_trackers import BOX_TRACKERS, BoxTracker
from vitpose.tracking.pose_tracker import PoseTracker
from vitpose.tracking.settings import PoseTrackerSettings

TRACKERS: Mapping[str, str] = {"pose": "ours: poses, boxes and motion together", **BOX_TRACKERS}
"""Names of the trackers, and what stands behind each."""


def make_tracker(tracker: str | Tracker | None, *, max_people: int | None = None) -> Tracker | None:
    """Return the tracker a name or object stands for.

    Args:
        tracker: a key of ``TRACKERS``, a ``Tracker``, or None for no tracking.
        max_people: how many people there are at most; ``pose`` only.

    Raises:
        UsageError: no such tracker, or a limit it does not know.
        MissingExtraError: the library of the box trackers is not installed.
    """
    if max_people is not None and tracker != "pose":
        raise UsageError("a limit on the number of people needs the tracker 'pose', which is the one that knows it")
    if tracker is None or not isinstance(tracker, str):
        return tracker
    check_tracker(tracker)
    if tracker == "pose":
        return PoseTracker(PoseTrackerSettings(max_people=max_people))
    return BoxTracker(tracker)


def check_tracker(name: str) -> None:
    """Refuse a name that is no tracker's.

    Raises:
        UsageError: it is none; the nearest that is one is named.
    """
    if name not in TRACKERS:
        raise UsageError(f"unknown tracker {name!r}{nearest(name, TRACKERS)}")


class Follower:
    """Tracks and smooths.

    The same frames give the same results again, so a run is continued by feeding the old ones.
    """

    def __init__(self, tracker: Tracker | None, smoothing: SmoothingSettings | None) -> None:
        """Begin a film.

        Args:
            tracker: forgets whoever it knew.
            smoothing: an offline method smooths nothing here; see ``afterwards.py``.
        """
        self._tracker = tracker
        if tracker is not None:
            tracker.reset()
        online = smoothing is not None and smoothing.method not in ("none", *OFFLINE)
        self._smoother = OnlineSmoother(smoothing) if online else None

    @property
    def looks(self) -> bool:
        """Whether the tracker may look at the pictures: ours does not, of others nobody knows."""
        return self._tracker is not None and not isinstance(self._tracker, PoseTracker)

    def follow(self, poses: Poses, time_s: float, image: NDArray[np.uint8]) -> Poses:
        """Return the poses of the next frame with ids, and smoothed, with ``raw_xy``, where that was asked for."""
        if self._tracker is not None:
            poses = self._tracker.update(poses, time_s, image)
        if self._smoother is None:
            return poses
        return replace(self._smoother.update(poses, time_s), raw_xy=poses.xy)
