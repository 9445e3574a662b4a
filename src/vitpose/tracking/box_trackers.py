"""Trackers that see boxes only, from the ``trackers`` library (Apache-2.0), behind our protocol."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, nearest
from vitpose.core.extras import require
from vitpose.core.poses import Poses
from vitpose.tracking.base import UNTRACKED

BOX_TRACKERS: Mapping[str, str] = {
    "sort": "SORTTracker",
    "bytetrack": "ByteTrackTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
    "cbiou": "CBIoUTracker",
}
"""Our name of each box tracker, and the library's."""


class BoxTracker:
    """Satisfies ``Tracker`` with one of the library's trackers; poses ride along with their boxes."""

    def __init__(self, name: str = "bytetrack", options: Mapping[str, Any] | None = None) -> None:
        """Build the tracker.

        Args:
            name: a key of ``BOX_TRACKERS``.
            options: arguments of the library's tracker, for instance ``{"lost_track_buffer": 60}``.

        Raises:
            UsageError: no such tracker, or the tracker has no such option; the nearest one is named.
            MissingExtraError: the library is not installed.
        """
        if name not in BOX_TRACKERS:
            raise UsageError(f"unknown tracker {name!r}{nearest(name, BOX_TRACKERS)}")
        library = require("trackers", "trackers", f"the tracker {name!r}")
        kind = getattr(library, BOX_TRACKERS[name])
        chosen = dict(options or {})
        known = [key for key in inspect.signature(kind.__init__).parameters if key != "self"]
        for key in chosen:
            if key not in known:
                raise UsageError(f"tracker {name!r} has no option {key!r}{nearest(key, known)}")
        self.name = name
        self._tracker = kind(**chosen)
        self._looks = bool(getattr(self._tracker, "enable_cmc", False))
        self._now: float | None = None

    def reset(self) -> None:
        """Forget everybody."""
        self._tracker.reset()
        self._now = None

    def update(self, poses: Poses, time_s: float, image: NDArray[Any] | None = None) -> Poses:
        """Return ``poses`` with ``track_ids``, see ``Tracker.update``."""
        sv = require("supervision", "trackers", "tracking")
        # The library warns of times that stand still, skips those that go back, and wants none below 0.
        self._now = max(time_s, 0.0) if self._now is None else max(time_s, self._now + 1e-6)
        detections = sv.Detections(
            xyxy=poses.boxes.astype(np.float64).reshape(-1, 4),
            confidence=poses.box_scores.astype(np.float64),
            class_id=np.zeros(len(poses), dtype=int),
            data={"position": np.arange(len(poses))},
        )
        # The library reads pictures as OpenCV does, blue first.
        frame = image[..., ::-1].copy() if image is not None and self._looks else None
        found = self._tracker.update(detections, frame, self._now)
        ids = np.full(len(poses), UNTRACKED, dtype=np.int64)
        if len(found):
            numbers = np.asarray(found.tracker_id, dtype=np.int64)
            ids[found.data["position"]] = np.where(numbers >= 0, numbers + 1, UNTRACKED)
        return replace(poses, track_ids=ids)
