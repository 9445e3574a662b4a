"""The stages between reading a film and writing its results: detect, estimate, follow."""

import threading
from dataclasses import replace

from vitpose.core.errors import UsageError
from vitpose.core.poses import Boxes, Poses
from vitpose.detectors.base import Settles
from vitpose.media.frames import Frame
from vitpose.pipeline.chunks import Chunk
from vitpose.pipeline.demand import Demand
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.following import Follower
from vitpose.pipeline.journal import Record


class FilmWork:
    """Each method is a stage, called with one chunk after the other in a thread of its own.

    Frames go through the models as their chunk puts them together, so results do not depend on timing. Chunks that are
    known pass through; they tell each stage what it would have remembered.
    """

    def __init__(self, estimator: PoseEstimator, demand: Demand, follower: Follower) -> None:
        """Join the parts.

        Args:
            estimator: with a detector.
            demand: says when the detector looks.
            follower: tracks and smooths.

        Raises:
            UsageError: the estimator has no detector.
        """
        if estimator.detector is None:
            raise UsageError("a video needs a detector: pass detector= when loading, for instance 'auto' or 'whole'")
        if isinstance(estimator.detector, Settles):
            # By its name a run that is continued is compared; it must not depend on what was done before this film.
            estimator.detector.settle()
        self._estimator, self._detector = estimator, estimator.detector
        self._demand, self._follower = demand, follower
        self._looking = threading.Lock()  # two stages use the detector

    @property
    def looks(self) -> bool:
        """Whether known chunks need their pictures too."""
        return self._follower.looks

    def detect(self, chunk: Chunk) -> Chunk:
        """Find the people in the frames that are due."""
        if chunk.known:
            return chunk
        due = [i for i in range(len(chunk.frames)) if self._demand.is_due(chunk.first + i)]
        boxes: list[Boxes | None] = [None] * len(chunk.frames)
        for i, found in zip(due, self._look([chunk.frames[i] for i in due]), strict=True):
            boxes[i] = found
        return replace(chunk, boxes=tuple(boxes))

    def estimate(self, chunk: Chunk) -> Chunk:
        """Estimate everybody's pose; with detection on demand, frame by frame."""
        if chunk.known:
            for one in chunk.records if self._demand.every > 1 else ():
                self._demand.take(one.raw, detected=one.detected)
            return chunk
        boxes = [found for found in chunk.boxes if found is not None]
        if self._demand.every > 1:
            results = [self._on_demand(*pair) for pair in zip(chunk.frames, chunk.boxes, strict=True)]
        else:
            poses = self._estimator.estimate([frame.image for frame in chunk.frames], boxes)
            results = [(found, True) for found in poses]
        records = [
            Record(frame.index, frame.time_s, poses, detected)
            for frame, (poses, detected) in zip(chunk.frames, results, strict=True)
        ]
        return replace(chunk, records=tuple(records))

    def follow(self, chunk: Chunk) -> Chunk:
        """Say who is who, and smooth."""
        records = []
        for frame, record in zip(chunk.frames, chunk.records, strict=True):
            raw = record.raw if chunk.known else record.poses
            poses = self._follower.follow(raw, record.time_s, frame.image)
            records.append(record if chunk.known else replace(record, poses=poses))
        return replace(chunk, records=tuple(records))

    def _on_demand(self, frame: Frame, found: Boxes | None) -> tuple[Poses, bool]:
        """Return the poses of a frame and whether the detector looked at it, which it may on second thought."""
        expected = self._demand.expected()
        if found is None and expected is not None:
            poses = self._estimator.estimate([frame.image], [expected])[0]
            if self._demand.believes(poses):
                self._demand.take(poses, detected=False)
                return poses, False
        if found is None:
            found = self._look([frame])[0]
        poses = self._estimator.estimate([frame.image], [self._demand.joined(found)])[0]
        poses = self._demand.confirmed(poses, len(found))
        self._demand.take(poses, detected=True)
        return poses, True

    def _look(self, frames: list[Frame]) -> list[Boxes]:
        if not frames:
            return []
        with self._looking:
            return self._detector([frame.image for frame in frames])
