"""Films with everything that can be in one, as journals."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.formats.film_facts import FilmFrame
from vitpose.formats.results import Origin, to_document

COCO17 = load_skeleton("coco17")
SIZE = Size(480, 640)
RATE = 25.0


def random_poses(
    rng: np.random.Generator,
    ids: Sequence[int] | int,
    *,
    skeleton: Skeleton = COCO17,
    raw: bool = False,
    sure: bool = False,
    label: str = "person",
) -> Poses:
    """Everybody in ``ids``, or so many people nobody followed."""
    people, keypoints = ids if isinstance(ids, int) else len(ids), len(skeleton)
    corners = rng.uniform(0, 300, (people, 2)).astype(np.float32)
    return Poses(
        xy=rng.uniform(-20, 2000, (people, keypoints, 2)),
        scores=rng.uniform(0, 1.1, (people, keypoints)),
        boxes=np.concatenate([corners, corners + rng.uniform(1, 300, (people, 2)).astype(np.float32)], axis=1),
        box_scores=rng.uniform(0.3, 1, people),
        labels=(label,) * people,
        track_ids=None if isinstance(ids, int) else np.array(ids, np.int64),
        p_correct=rng.random((people, keypoints)) if sure else None,
        raw_xy=rng.uniform(0, 700, (people, keypoints, 2)) if raw else None,
        skeleton=skeleton,
        image_size=SIZE,
    )


def film(rows: Sequence[Sequence[int] | int], *, stride: int = 1, seed: int = 0, **options: object) -> list[FilmFrame]:
    """A film with the ids of each frame."""
    rng = np.random.default_rng(seed)
    numbers = [place * stride for place in range(len(rows))]
    return [
        FilmFrame(number, number / RATE, random_poses(rng, row, **options))  # type: ignore[arg-type]
        for number, row in zip(numbers, rows, strict=True)
    ]


def mixed() -> list[FilmFrame]:
    """Nobody at first, somebody comes late, somebody has no id, two have other labels, some was smoothed."""
    rng = np.random.default_rng(3)
    rows: list[list[int]] = [[], [4], [4, -1], [], [-1, 2, 4], [2], []]
    frames = []
    for place, row in enumerate(rows):
        poses = random_poses(rng, row, raw=place >= 4, sure=place >= 2, label="dog" if place == 5 else "person")
        frames.append(FilmFrame(7 + 3 * place, 0.28 + place * 0.1201, poses))
    return frames


FILMS: dict[str, Callable[[], list[FilmFrame]]] = {
    "empty": list,
    "nobody": lambda: film([[]] * 5),
    "untracked": lambda: film([2, 0, 3, 1]),
    "tracked": lambda: film([[1, 2], [2, 1], [1], [], [2, 5, 1]]),
    "stride": lambda: film([[1], [1], [], [1]], stride=4),
    "smoothed": lambda: film([[1, 2], [2]], raw=True, sure=True),
    "wholebody": lambda: film([[1], [1, 2]], skeleton=load_skeleton("wholebody133"), sure=True),
    "mixed": mixed,
}


def write_journal(path: Path, frames: Sequence[FilmFrame], source: str = "clips/Straße, 1.mp4") -> Path:
    """Write the lines the way a run does."""
    lines = []
    for one in frames:
        origin = Origin(name=path.stem, source=source, image_id=path.stem, frame=one.frame, time_s=one.time_s)
        lines.append(json.dumps(to_document(origin, one.poses), ensure_ascii=False, allow_nan=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def real_film(shared: Path, most_frames: int = 40) -> list[FilmFrame]:
    """The labels of a PoseTrack 2017 video with people who come and go."""
    skeleton = load_skeleton("mpii16")
    videos = np.load(shared / "data" / "annotations" / "posetrack_cvpr17_all60.npz")
    name = max(videos.files, key=lambda one: len(videos[one]))
    values = videos[name][:, :most_frames].astype(np.float32)
    frames = []
    for place in range(values.shape[1]):
        there = np.flatnonzero((values[:, place, :, 2] > 0).sum(axis=1) >= 3)
        xy, seen = values[there, place, :, :2], values[there, place, :, 2] > 0
        poses = Poses(
            xy=xy,
            scores=np.where(seen, 0.9, 0.1),
            boxes=np.concatenate([xy.min(axis=1, initial=0) - 1, xy.max(axis=1, initial=0) + 1], axis=1),
            box_scores=np.ones(len(there)),
            track_ids=there + 1,
            skeleton=skeleton,
            image_size=Size(720, 1280),
        )
        frames.append(FilmFrame(place, place / RATE, poses))
    return frames


def assert_same_poses(one: Poses, other: Poses, *, ids: bool = True) -> None:
    """Bit for bit."""
    for name in ("xy", "scores", "boxes", "box_scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.labels == other.labels
    optional = ("track_ids", "p_correct", "raw_xy") if ids and len(one) else ()
    for name in optional:
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
