"""The protocol every tracker satisfies, and the one loop that runs one over a video."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from vitpose.core.poses import Poses

UNTRACKED = -1
"""Track id of a person that no track has claimed: a doubtful detection, a double, or one seen too rarely so far."""


class Tracker(Protocol):
    """Gives the people of one frame the ids they had in the frames before."""

    name: str

    def update(self, poses: Poses, time_s: float, image: NDArray[Any] | None = None) -> Poses:
        """Return ``poses`` with ``track_ids``: the same people in the same order, ids from 1, or ``UNTRACKED``.

        Args:
            poses: the people of this frame.
            time_s: presentation time of the frame in seconds; a step backwards counts as no time passed.
            image: the frame, ``(height, width, 3)`` uint8 RGB, for trackers that look at it.
        """

    def reset(self) -> None:
        """Forget everybody: the next frame belongs to another video."""


def track(frames: Iterable[tuple[float, Poses]], tracker: Tracker) -> Iterator[Poses]:
    """Yield the poses of each ``(time_s, poses)`` with track ids, one frame at a time in flat memory.

    The same frames give the same ids again, so a run that broke off is continued by feeding the saved frames first.
    """
    tracker.reset()
    for time_s, poses in frames:
        yield tracker.update(poses, time_s)
