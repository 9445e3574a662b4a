"""Our tracker: people are recognised by their pose, their box and their motion, and again after they were lost."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.poses import Poses
from vitpose.tracking.association import (
    best_pairs,
    box_similarity,
    center_similarity,
    doubles,
    pose_similarity,
    same_label,
)
from vitpose.tracking.base import UNTRACKED
from vitpose.tracking.settings import PoseTrackerSettings
from vitpose.tracking.state import Floats, Measured, TrackState, measured_people

MISSED = 0.5
"""A miss takes this share of the needed evidence from a track that has no id yet."""


class PoseTracker:
    """Satisfies ``Tracker``. One object follows one video; ids count from 1 in the order people are confirmed.

    Each frame: everybody known is carried forward, doubles of one person are reduced to the best one, people and tracks
    are paired so that the total similarity is largest, and who is left over starts a track that gets its id once enough
    evidence has added up.
    """

    name = "pose"

    def __init__(self, settings: PoseTrackerSettings | None = None) -> None:
        self._settings = settings or PoseTrackerSettings()
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._tracks: list[TrackState] = []
        self._retired: list[TrackState] = []
        self._next_id = 1
        self._now: float | None = None
        self._met_anybody = False

    def update(self, poses: Poses, time_s: float, image: NDArray[Any] | None = None) -> Poses:  # noqa: ARG002 - protocol
        """Return ``poses`` with ``track_ids``, see ``Tracker.update``; the picture is not looked at."""
        now = time_s if self._now is None else max(time_s, self._now)
        for one in self._tracks:
            one.predict(now - (self._now or 0.0), self._settings.motion)
        self._now = now
        self._forget(now)
        people = measured_people(poses)
        alike = doubles(people, self._settings.tolerance, self._settings.double_box)
        owners: list[TrackState | None] = [None] * len(people)
        first, second = self._ranked(people, alike)
        self._assign(self._tracks, people, first, owners)
        self._assign([one for one in self._tracks if not one.id], people, second, owners)
        self._update_tracks(people, owners, now)
        self._start(people, owners, now)
        for person, owner, similar in zip(people, owners, alike, strict=True):
            if owner is not None:
                self._confirm(owner, person, 1 - float(similar.max(initial=0.0)) / self._settings.double)
        self._met_anybody = self._met_anybody or bool(len(poses))
        ids = [(owner.id or UNTRACKED) if owner is not None else UNTRACKED for owner in owners]
        return replace(poses, track_ids=np.array(ids, dtype=np.int64))

    def _ranked(self, people: list[Measured], alike: Floats) -> tuple[list[int], list[int]]:
        """Split people into those to pair first and worse doubles of them, wanted by the same track.

        A double may still be somebody close by whom no track knows yet, so it may start a track and continue that.
        """
        wanted = self._similarity(self._tracks, people).argmax(axis=0) if self._tracks else np.zeros(len(people))
        first: list[int] = []
        second: list[int] = []
        for i in sorted(range(len(people)), key=lambda i: -people[i].quality):
            doubled = any(alike[i, k] >= self._settings.suppress and wanted[i] == wanted[k] for k in first)
            (second if doubled else first).append(i)
        return sorted(first), sorted(second)

    def _assign(
        self, tracks: list[TrackState], people: list[Measured], chosen: list[int], owners: list[TrackState | None]
    ) -> None:
        """Write the owners of the ``chosen`` people into ``owners``; a track owns one person at most."""
        owning = {id(one) for one in owners if one is not None}
        free = [one for one in tracks if id(one) not in owning]
        similar = self._similarity(free, [people[i] for i in chosen])
        for row, column in best_pairs(similar, self._settings.least):
            owners[chosen[column]] = free[row]

    def _update_tracks(self, people: list[Measured], owners: list[TrackState | None], now: float) -> None:
        """Correct the tracks that own somebody by what was measured; note a miss for the others."""
        for one in self._tracks:
            one.missed += 1
            one.evidence -= 0.0 if one.id else MISSED * self._settings.evidence
        for owner, person in zip(owners, people, strict=True):
            if owner is not None:
                owner.correct(person, now - owner.seen_s, self._settings.motion)
                owner.evidence += 0.0 if owner.id else MISSED * self._settings.evidence
                owner.seen_s, owner.missed = now, 0

    def _similarity(self, tracks: list[TrackState], people: list[Measured]) -> Floats:
        """Return ``(tracks, people)`` similarity; 0 for different classes and boxes too far apart."""
        if not tracks or not people:
            return np.zeros((len(tracks), len(people)))
        chosen = self._settings
        overlap = box_similarity(tracks, people)
        ratio = np.array([one.size for one in tracks])[:, None] / np.array([one.size for one in people])
        similar = (
            chosen.pose_weight * pose_similarity(tracks, people, chosen.tolerance)
            + chosen.box_weight * overlap
            + (1 - chosen.pose_weight - chosen.box_weight) * center_similarity(tracks, people, chosen.center_width)
            + chosen.quality_weight * (np.array([one.quality for one in people]) - 0.5)
            - chosen.resize * np.abs(np.log2(ratio))
        )
        return np.asarray(np.where(same_label(tracks, people) & (overlap >= chosen.least_iou), similar, 0.0))

    def _start(self, people: list[Measured], owners: list[TrackState | None], now: float) -> None:
        """Start a track for everybody nobody claimed, except the doubtful."""
        for i, person in enumerate(people):
            if owners[i] is None and person.quality >= self._settings.new_quality:
                started = person.begin(now, self._settings.motion)
                owners[i] = started
                self._tracks = [*self._tracks, started]

    def _confirm(self, one: TrackState, person: Measured, apart: float) -> None:
        """Count the evidence for a track without an id, less for a double (``apart`` near 0), and give it one."""
        if one.id:
            return
        one.evidence += person.quality * max(apart, 0.0)
        if one.evidence < (self._settings.evidence if self._met_anybody else self._settings.first_evidence):
            return
        if self._settings.max_people is None or self._next_id <= self._settings.max_people:
            one.id, self._next_id = self._next_id, self._next_id + 1
            return
        lost = [other for other in self._tracks if other.id and other.missed] + self._retired
        if lost:
            best = lost[int(np.argmax(self._nearness(lost, person)))]
            one.id = best.id
            self._tracks = [other for other in self._tracks if other is not best]
            self._retired = [other for other in self._retired if other is not best]

    def _nearness(self, lost: list[TrackState], person: Measured) -> Floats:
        """Which of the lost people ``person`` is most likely to be, when it must be one of them: the nearest."""
        centers = np.array([(one.box[:2] + one.box[2:]) / 2 for one in lost])
        here = (person.box[:2] + person.box[2:]) / 2
        sizes = np.array([one.size for one in lost])
        wrong_class = np.array([one.label != person.label for one in lost])
        return np.asarray(-np.linalg.norm(centers - here, axis=1) / sizes - 1e6 * wrong_class)

    def _forget(self, now: float) -> None:
        """Drop people not seen for long; with a limit on their number, keep them to be recognised."""
        kept = [one for one in self._tracks if one.id or one.evidence > 0]
        gone = [one for one in kept if now - one.seen_s > self._settings.lost_s]
        self._tracks = [one for one in kept if now - one.seen_s <= self._settings.lost_s]
        if self._settings.max_people is not None:
            self._retired = self._retired + [one for one in gone if one.id]
