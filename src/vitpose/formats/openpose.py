"""A film as OpenPose writes one: a folder with a JSON file a frame, ``NAME/NAME_000000000012_keypoints.json``.

Layout: OpenPose 1.7, ``doc/02_output.md`` and ``savePeopleJson`` in ``src/openpose/filestream/fileStream.cpp`` (version
1.3 of the file: with person ids). Order of the body: ``POSE_BODY_25_BODY_PARTS`` in
``include/openpose/pose/poseParameters.hpp``. Face: the 68 points of iBUG 300-W, which COCO-WholeBody has in the same
order, then the two pupils. Hands: wrist, then thumb to little finger from the root to the tip, as COCO-WholeBody's.
OpenPose learnt its neck and the middle of the hips as the middles of shoulders and hips, so they are computed here, for
skeletons with a neck of their own too: that is higher up in most sets.
"""

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import VitPoseError
from vitpose.core.files import atomic_write_text
from vitpose.core.poses import Poses, shortest_decimals
from vitpose.core.skeleton import Skeleton
from vitpose.formats.film_facts import FilmFacts, FilmFrame

BODY_25: Final = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe",
    "right_heel",
)  # fmt: skip
"""OpenPose's order of the body, by our names."""

FACE_70: Final = (*(f"face-{i}" for i in range(68)), "right_pupil", "left_pupil")
"""OpenPose's order of the face, by our names; no skeleton here has pupils."""

_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "mid_hip": ("left_hip", "right_hip")}
_ARMS = {f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist")}
_LEGS = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")}
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_EMPTY: Final[dict[str, list[float]]] = {
    f"{part}_keypoints_3d": [] for part in ("pose", "face", "hand_left", "hand_right")
}
"""What OpenPose writes where it does not work in three dimensions."""

_ABSENT = -1


def hand_21(side: str) -> tuple[str, ...]:
    """Return OpenPose's order of a hand, by our names; ``side`` is left or right."""
    return (f"{side}_hand_root", *(f"{side}_{finger}{i}" for finger in _FINGERS for i in range(1, 5)))


@dataclass(frozen=True, slots=True)
class OpenPoseLayout:
    """Which keypoints go where.

    Attributes:
        order: names of the points of each list of the file, for instance ``pose_keypoints_2d``.
        sources: for each list ``(points, 2)`` positions in the skeleton; a point is the middle of the two, which are
            the same for most. -1 where the skeleton has none.
        body: ``BODY_25``, ``own`` where the skeleton has no body of that kind, or ``none`` for a face or hand alone.
    """

    order: dict[str, tuple[str, ...]]
    sources: dict[str, NDArray[np.int64]]
    body: str


def openpose_layout(skeleton: Skeleton) -> OpenPoseLayout:
    """Find a skeleton's keypoints in OpenPose's lists by their names.

    A skeleton with both arms (shoulder, elbow, wrist) or both legs (hip, knee, ankle) is a body; a face or a hand
    counts when it is complete. A skeleton with none of them (most animals) keeps its own order, in
    ``pose_keypoints_2d``.
    """
    names = set(skeleton.keypoints)
    order = {
        "pose_keypoints_2d": BODY_25 if names >= _ARMS or names >= _LEGS else (),
        "face_keypoints_2d": FACE_70 if names >= set(FACE_70[:68]) else (),
        "hand_left_keypoints_2d": hand_21("left") if names >= set(hand_21("left")) else (),
        "hand_right_keypoints_2d": hand_21("right") if names >= set(hand_21("right")) else (),
    }
    if not any(order.values()):
        own = np.repeat(np.arange(len(skeleton))[:, None], 2, axis=1)
        order["pose_keypoints_2d"] = skeleton.keypoints
        return OpenPoseLayout(order, {part: own[: len(points)] for part, points in order.items()}, "own")
    body = "BODY_25" if order["pose_keypoints_2d"] else "none"
    return OpenPoseLayout(order, {part: _positions(points, skeleton) for part, points in order.items()}, body)


def _positions(points: tuple[str, ...], skeleton: Skeleton) -> NDArray[np.int64]:
    index = {name: position for position, name in enumerate(skeleton.keypoints)}
    pairs = [[index.get(name, _ABSENT) for name in _MIDDLES.get(point, (point, point))] for point in points]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def openpose_people(poses: Poses, layout: OpenPoseLayout) -> list[dict[str, Any]]:
    """Return the entries of a frame's ``people``: flat lists x, y, score in pixels; 0, 0, 0 for points there are not.

    A middle has the lower score of the two. Points with a low score stay: OpenPose would leave them out as 0, 0, 0.
    """
    triples = np.concatenate([poses.xy, poses.scores[..., None]], axis=-1)
    lists = {part: shortest_decimals(_flat(triples, pairs)) for part, pairs in layout.sources.items()}
    ids = [_ABSENT] * len(poses) if poses.track_ids is None else poses.track_ids.tolist()
    return [
        {"person_id": [track_id], **{part: values[i] for part, values in lists.items()}, **_EMPTY}
        for i, track_id in enumerate(ids)
    ]


def _flat(triples: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    first, second = triples[:, pairs[:, 0]], triples[:, pairs[:, 1]]
    points = np.asarray((first + second) / 2, dtype=np.float32)
    points[..., 2] = np.minimum(first[..., 2], second[..., 2])
    points[:, (pairs == _ABSENT).any(axis=1)] = 0
    return points.reshape(len(triples), 3 * len(pairs))


class OpenPoseWriter:
    """Writes the frames to a hidden folder and gives it its name in the end.

    Which list has which points stands in ``NAME.openpose.json`` beside the folder.
    """

    def __init__(self, facts: FilmFacts, folder: Path) -> None:
        """Make the hidden folder.

        Raises:
            VitPoseError: it cannot be made.
        """
        self._folder = folder
        self._layout = openpose_layout(facts.skeleton) if facts.skeleton is not None else OpenPoseLayout({}, {}, "none")
        self._skeleton = facts.skeleton
        self._parts = folder.parent / f".part-{secrets.token_hex(6)}"
        with self._writing():
            self._parts.mkdir(parents=True)

    def add(self, frame: FilmFrame) -> None:
        """Write one file."""
        plain = {"version": 1.3, "people": openpose_people(frame.poses, self._layout)}
        path = self._parts / f"{self._folder.name}_{frame.frame:012d}_keypoints.json"
        with self._writing():
            path.write_text(json.dumps(plain, separators=(",", ":"), allow_nan=False), encoding="utf-8")

    def finish(self) -> list[Path]:
        """Give the folder its name.

        Files of an earlier run with such names are removed; other files of a folder that is there are left alone.
        """
        about = {
            "skeleton": self._skeleton.name if self._skeleton else None,
            "body": self._layout.body,
            **{part: list(points) for part, points in self._layout.order.items()},
        }
        # First what says whose the files are: a folder without it is taken for OpenPose's own.
        beside = self._folder.with_name(f"{self._folder.name}.openpose.json")
        atomic_write_text(beside, json.dumps(about, indent=1) + "\n")
        with self._writing():
            if self._folder.is_dir():
                for old in self._folder.glob("*_keypoints.json"):
                    if old.name.startswith(f"{self._folder.name}_"):
                        old.unlink()
                for new in sorted(self._parts.iterdir()):
                    new.replace(self._folder / new.name)
                self._parts.rmdir()
            else:
                self._parts.replace(self._folder)
        return [self._folder, beside]

    def discard(self) -> None:
        """Remove what is not finished."""
        shutil.rmtree(self._parts, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VitPoseError(
                f"cannot write {self._folder}: {error.strerror or error}; no half of it was left"
            ) from error
