"""Smoothing in blocks is smoothing of the whole curve."""

from pathlib import Path

import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.motion.series import TrackSeries, series_from_poses
from vitpose.motion.settings import OFFLINE, SmoothingSettings
from vitpose.motion.smooth import smooth
from vitpose.pipeline.afterwards import BLOCK, smooth_journal, smoothed_records
from vitpose.pipeline.journal import Journal, Record, read_records, to_line

TWO = Skeleton(name="two", keypoints=("a", "b"))


def walk(count: int, rate: float = 25.0, seed: int = 0) -> list[Record]:
    """Two people who swing, with noise; one is away for two seconds, the other from time to time for a frame."""
    rng = np.random.default_rng(seed)
    records = []
    for t in range(count):
        there = [1] * (not 600 <= t < 650) + [2] * bool(rng.random() > 0.05)
        place = 100 + 40 * np.sin(t / 11 + np.arange(2))[None, :, None] + 200 * np.array(there)[:, None, None]
        xy = place + rng.normal(0, 2, (len(there), 2, 2))
        corners = xy.min(axis=1) - 20
        poses = Poses(
            xy=xy,
            scores=rng.uniform(0.3, 1, (len(there), 2)),
            boxes=np.concatenate([corners, corners + 80], axis=1),
            box_scores=np.ones(len(there)),
            skeleton=TWO,
            image_size=Size(400, 800),
            track_ids=np.array(there),
        )
        records.append(Record(3 * t, (t + 0.07 * (t % 4)) / rate, poses, detected=t % 2 == 0))
    return records


def tracks(records: list[Record]) -> list[TrackSeries]:
    return series_from_poses([one.poses for one in records], [one.time_s for one in records])


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK + 65, 3 * BLOCK + 100])
@pytest.mark.parametrize("method", OFFLINE)
def test_blocks_join_without_a_seam(method: str, count: int) -> None:
    records, settings = walk(count), SmoothingSettings(method=method)
    found = list(smoothed_records(records, settings))
    assert [one.frame for one in found] == [one.frame for one in records]
    for mine, whole in zip(tracks(found), tracks(records), strict=True):
        np.testing.assert_allclose(mine.xy, smooth(whole, settings).xy, atol=2e-3)
    for before, after in zip(records, found, strict=True):
        np.testing.assert_array_equal(after.poses.raw_xy, before.poses.xy)
        np.testing.assert_array_equal(after.poses.scores, before.poses.scores)
        assert after.detected == before.detected


@pytest.mark.parametrize(("method", "rate"), [("butterworth", 240.0), ("rts", 240.0), ("rts", 5.0)])
def test_the_overlap_is_as_long_as_the_filter_remembers(method: str, rate: float) -> None:
    records, settings = walk(2 * BLOCK + 900, rate), SmoothingSettings(method=method)
    for mine, whole in zip(tracks(list(smoothed_records(records, settings))), tracks(records), strict=True):
        np.testing.assert_allclose(mine.xy, smooth(whole, settings).xy, atol=2e-3)


def test_frames_at_one_time_keep_their_points() -> None:
    records = walk(50)
    records[20] = Record(records[20].frame, records[19].time_s, records[20].poses)
    found = list(smoothed_records(records, SmoothingSettings(method="butterworth")))
    np.testing.assert_array_equal(found[20].poses.xy, records[20].poses.xy)
    assert np.abs(found[21].poses.xy - records[21].poses.xy).max() > 0.1


def test_the_journal_is_written_again_with_everything_else_as_it_was(tmp_path: Path) -> None:
    records = walk(700)
    raw, smoothed = tmp_path / "raw.jsonl", tmp_path / "smoothed.jsonl"
    with Journal(raw) as journal:
        journal.append([to_line(one, name="walk", source="walk.mp4", on_demand=True) for one in records])
    settings = SmoothingSettings(method="butterworth")
    smoothed.write_text("left by a run that was killed")
    smooth_journal(raw, smoothed, settings, name="walk", source="walk.mp4", on_demand=True)
    expected = list(smoothed_records(records, settings))
    for found, one in zip(read_records(smoothed), expected, strict=True):
        assert (found.frame, found.time_s, found.detected) == (one.frame, one.time_s, one.detected)
        np.testing.assert_array_equal(found.poses.xy, one.poses.xy)
        np.testing.assert_array_equal(found.poses.raw_xy, one.poses.raw_xy)
