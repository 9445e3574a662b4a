"""A film's results are the same however the run went: timing, kills, resuming; and they are right."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moving_blocks import WALKERS, BlockDetector, Blocks, block_estimator, files_in, still_running

from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.core.poses import Poses
from vitpose.formats.film import read_frames_of
from vitpose.media.frames import Frame, Span
from vitpose.motion.series import series_from_poses
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.smooth import smooth
from vitpose.pipeline.stages import PATIENCE_S
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.summary import Listeners
from vitpose.pipeline.video_options import VideoOptions

pytest.importorskip("av")

FORMATS = ("json", "overlay", "csv", "coco-video", "openpose")
PLAIN = VideoOptions(formats=("json",))
ONLINE = VideoOptions(detect_every=4, formats=FORMATS, smoothing=SmoothingSettings(method="kalman"))
OFFLINE = replace(ONLINE, smoothing=SmoothingSettings(method="butterworth"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of runs that nothing happened to."""
    folders = {}
    for key, options in (("online", ONLINE), ("offline", OFFLINE)):
        folders[key] = tmp_path_factory.mktemp(key)
        summary = predict_video(block_estimator(), Blocks(), out=folders[key], options=options)
        assert (summary.frames, summary.complete, summary.interrupted) == (100, True, False)
    return folders


def test_frames_people_times_and_files(whole: dict[str, Path]) -> None:
    frames = list(read_frames_of(whole["online"] / "blocks.jsonl"))
    assert [one.frame for one in frames] == list(range(100))
    assert [one.time_s for one in frames] == [i / 25 + 0.01 * (i % 3) for i in range(100)]
    expected = [sum(path(t) is not None for path in WALKERS) for t in range(100)]
    found = [len(one.poses) for one in frames]
    # With detection on demand somebody who comes in is seen at the next look.
    assert sum(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 9
    ids = {
        int(one) for frame in frames if frame.poses.track_ids is not None for one in frame.poses.track_ids if one > 0
    }
    assert ids == {1, 2, 3}
    assert all(frame.poses.raw_xy is not None for frame in frames if len(frame.poses))
    names = set(files_in(whole["online"]))
    assert {"blocks.jsonl", "blocks.mp4", "blocks.csv", "blocks.coco.json", "blocks.run.json"} <= names
    assert not [name for name in names if "part" in name]


def test_positions_are_those_of_the_blocks(tmp_path: Path) -> None:
    predict_video(block_estimator(), Blocks(60), out=tmp_path, options=PLAIN)
    for frame in read_frames_of(tmp_path / "blocks.jsonl"):
        middles = [(p[0] + 7.5, p[1] + 11.5) for p in (path(frame.frame) for path in WALKERS) if p is not None]
        assert len(middles) == len(frame.poses)
        if len(middles) < 3:  # all three are sometimes one region
            distance = np.linalg.norm(frame.poses.xy[:, 4][:, None] - np.array(middles)[None], axis=-1)
            assert distance.min(axis=0).max() < 1.5


@pytest.mark.parametrize("kind", ["online", "offline"])
def test_results_do_not_depend_on_timing(whole: dict[str, Path], kind: str, tmp_path: Path) -> None:
    class Dawdling(BlockDetector):
        def __call__(self, images: list[np.ndarray]) -> list:
            time.sleep(0.002 * (self.pictures % 5))
            return super().__call__(images)

    options = ONLINE if kind == "online" else OFFLINE
    source = Blocks(slow_s=0.001)
    predict_video(block_estimator(detector=Dawdling()), source, out=tmp_path, options=options)
    assert files_in(tmp_path) == files_in(whole[kind])


class KilledError(Exception):
    pass


def test_resume_says_what_is_different(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(fails=(40, KilledError())), out=tmp_path, options=PLAIN)
    again = replace(PLAIN, resume=True)
    with pytest.raises(UsageError, match="detect_every 1, now it is 2"):
        predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(again, detect_every=2))
    with pytest.raises(UsageError, match="tracker 'pose', now it is ''"):
        predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(again, tracker=None))
    with pytest.raises(UsageError, match="another film, or the file has changed"):
        predict_video(block_estimator(), Blocks(50), out=tmp_path, options=again)
    with pytest.raises(UsageError, match=r"model\.threshold 0\.3, now it is 0\.5"):
        predict_video(block_estimator().with_options(threshold=0.5), Blocks(), out=tmp_path, options=again)
    with pytest.raises(UsageError, match="flip_test"):
        predict_video(block_estimator().with_options(flip_test=True), Blocks(), out=tmp_path, options=again)
    before = files_in(tmp_path)
    (tmp_path / "blocks.run.json").unlink()
    with pytest.raises(UsageError, match=r"has no blocks\.run\.json beside it"):
        predict_video(block_estimator(), Blocks(), out=tmp_path, options=again)
    (tmp_path / "blocks.run.json").write_bytes(before["blocks.run.json"])
    assert predict_video(block_estimator(), Blocks(), out=tmp_path, options=again).frames == 100


def test_resume_of_a_source_with_other_frames_stops(tmp_path: Path) -> None:
    options = replace(PLAIN, formats=("json", "overlay"))
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(fails=(40, KilledError())), out=tmp_path, options=options)
    before = (tmp_path / "blocks.partial.jsonl").read_bytes()
    with pytest.raises(InputError, match="is not the same any more"):
        predict_video(block_estimator(), Blocks(stride=3), out=tmp_path, options=replace(options, resume=True))
    kept = (tmp_path / "blocks.partial.jsonl").read_bytes()
    assert before.startswith(kept)
    assert kept.count(b"\n") == 32


def test_resume_reads_only_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(fails=(60, KilledError())), out=tmp_path, options=PLAIN)
    source, detector = Blocks(), BlockDetector()
    predict_video(block_estimator(detector=detector), source, out=tmp_path, options=replace(PLAIN, resume=True))
    assert source.read == list(range(48, 100))
    assert detector.pictures == 52


def test_resume_of_nothing_begins_and_of_a_complete_run_does_nothing(tmp_path: Path) -> None:
    options = replace(PLAIN, resume=True)
    first = predict_video(block_estimator(), Blocks(30), out=tmp_path, options=options)
    detector = BlockDetector()
    estimator = block_estimator(detector=detector)
    assert predict_video(estimator, Blocks(30), out=tmp_path, options=options) == first
    more = predict_video(estimator, Blocks(30), out=tmp_path, options=replace(options, formats=("json", "csv")))
    assert [path.name for path in more.files] == ["blocks.jsonl", "blocks.csv"]
    assert detector.pictures == 0
    (tmp_path / "blocks.jsonl").unlink()
    assert predict_video(estimator, Blocks(30), out=tmp_path, options=options).frames == 30
    assert detector.pictures == 30, "what was deleted is made again"


def test_a_tracker_that_may_look_sees_every_picture_again(tmp_path: Path) -> None:
    class Looking:
        name = "looking"

        def __init__(self) -> None:
            self.seen: list[int] = []

        def reset(self) -> None:
            self.seen = []

        def update(self, poses: Poses, time_s: float, image: np.ndarray | None = None) -> Poses:
            assert image is not None
            self.seen.append(int(image.sum()))
            return replace(poses, track_ids=np.full(len(poses), sum(self.seen) % 1000))

    options = replace(PLAIN, tracker=Looking())
    predict_video(block_estimator(), Blocks(), out=tmp_path / "whole", options=options)
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(fails=(70, KilledError())), out=tmp_path / "cut", options=options)
    predict_video(block_estimator(), Blocks(), out=tmp_path / "cut", options=replace(options, resume=True))
    assert files_in(tmp_path / "whole") == files_in(tmp_path / "cut")


def test_smoothing_afterwards_is_that_of_the_whole_curve(whole: dict[str, Path]) -> None:
    frames = list(read_frames_of(whole["offline"] / "blocks.jsonl"))
    raw = [replace(one.poses, xy=one.poses.raw_xy, raw_xy=None) for one in frames]
    for track in series_from_poses(raw, [one.time_s for one in frames]):
        expected = smooth(track, OFFLINE.smoothing)
        for row, number in enumerate(track.frames.tolist()):
            poses = frames[number].poses
            place = np.flatnonzero(poses.track_ids == track.track_id)[0]
            np.testing.assert_allclose(poses.xy[place], expected.xy[row], atol=1e-3)


def test_without_smoothing_nothing_is_touched(tmp_path: Path) -> None:
    for method in (None, SmoothingSettings(method="none")):
        predict_video(block_estimator(), Blocks(20), out=tmp_path, options=replace(PLAIN, smoothing=method))
        assert "raw_xy" not in (tmp_path / "blocks.jsonl").read_text()


@pytest.mark.parametrize("count", [0, 1])
def test_short_films(count: int, tmp_path: Path) -> None:
    options = VideoOptions(formats=FORMATS, smoothing=SmoothingSettings(method="butterworth"))
    summary = predict_video(block_estimator(), Blocks(count), out=tmp_path, options=options)
    assert (summary.frames, summary.people, summary.complete) == (count, count, True)
    assert len((tmp_path / "blocks.jsonl").read_text().splitlines()) == count
    assert (tmp_path / "blocks.mp4").exists() == bool(count)


def test_nobody_at_all_and_nobody_at_first(tmp_path: Path) -> None:
    for name, paths in (("nobody", ()), ("later", (lambda t: (20, 20) if t >= 30 else None,))):
        detector = BlockDetector()
        summary = predict_video(
            block_estimator(detector=detector), Blocks(50, paths), out=tmp_path, name=name, options=ONLINE
        )
        assert summary.frames == 50
        found = [len(one.poses) for one in read_frames_of(tmp_path / f"{name}.jsonl")]
        assert found == ([0] * 50 if name == "nobody" else [0] * 32 + [1] * 18)
        assert detector.pictures == 13
        assert (tmp_path / f"{name}.mp4").exists()


def test_listeners_hear_every_frame_in_order_in_the_thread_that_runs(tmp_path: Path) -> None:
    for out, options in ((None, ONLINE), (tmp_path, ONLINE), (tmp_path, OFFLINE)):
        frames, results, threads = [], [], set()

        def heard(frame: object, poses: object, frames: list = frames, threads: set = threads) -> None:
            frames.append(frame.index)  # type: ignore[attr-defined]
            threads.add(threading.current_thread())

        listeners = Listeners(frame=heard, result=lambda origin, _, results=results: results.append(origin.frame))
        predict_video(block_estimator(), Blocks(40), out=out, options=options, listeners=listeners)
        assert frames == results == list(range(40))
        assert threads == {threading.main_thread()}


def test_a_source_that_breaks_off_keeps_what_it_gave(tmp_path: Path) -> None:
    source = Blocks(fails=(45, InputError("blocks: the connection died")))
    with pytest.raises(InputError, match="connection died"):
        predict_video(block_estimator(), source, out=tmp_path, options=replace(PLAIN, formats=("json", "overlay")))
    assert {"blocks.partial.jsonl", "blocks.partial.mp4", "blocks.run.json"} <= set(files_in(tmp_path))
    assert len(list(read_frames_of(tmp_path / "blocks.partial.jsonl"))) == 45
    with pytest.raises(InputError):
        predict_video(block_estimator(), Blocks(fails=(0, InputError("no"))), out=tmp_path / "new", options=PLAIN)
    assert files_in(tmp_path / "new") == {}


def test_a_detector_that_cannot_begin_leaves_no_files(tmp_path: Path) -> None:
    estimator = block_estimator(detector=BlockDetector(fails=(1, VitPoseError("no weights"))))
    with pytest.raises(VitPoseError, match="no weights"):
        predict_video(estimator, Blocks(), out=tmp_path, options=ONLINE)
    assert files_in(tmp_path) == {}


def test_the_keyboard_stops_a_film_and_resume_continues_it(whole: dict[str, Path], tmp_path: Path) -> None:
    from vitpose.media.video import VideoFile

    def stop(frame: object, _: object) -> None:
        if frame.index == 50:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    summary = predict_video(block_estimator(), Blocks(), out=tmp_path, options=ONLINE, listeners=Listeners(frame=stop))
    assert summary.interrupted
    assert not summary.complete
    assert summary.frames >= 50
    assert [path.name for path in summary.files] == ["blocks.partial.jsonl", "blocks.partial.mp4"]
    assert len(list(read_frames_of(summary.files[0]))) == summary.frames
    assert len(list(VideoFile(summary.files[1]).frames())) == summary.frames
    predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(ONLINE, resume=True))
    assert files_in(tmp_path) == files_in(whole["online"])


def test_the_keyboard_ends_a_live_source(tmp_path: Path) -> None:
    def stop(frame: object, _: object) -> None:
        if frame.index == 20:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    options = replace(ONLINE, detect_every=1)
    source = Blocks(10_000, live=True)
    summary = predict_video(block_estimator(), source, out=tmp_path, options=options, listeners=Listeners(frame=stop))
    assert summary.complete
    assert summary.interrupted
    assert 20 < summary.frames < 40, "frames go one by one"
    assert (tmp_path / "blocks.csv").exists()
    assert (tmp_path / "blocks.mp4").exists()


def test_an_error_of_a_listener_is_raised_and_nothing_hangs(tmp_path: Path) -> None:
    def fail(_frame: object, _poses: object) -> None:
        raise VitPoseError("the screen is full")

    with pytest.raises(VitPoseError, match="screen"):
        predict_video(block_estimator(), Blocks(), out=tmp_path, options=ONLINE, listeners=Listeners(frame=fail))
    assert not still_running()
    assert (tmp_path / "blocks.partial.jsonl").exists()


def test_files_nobody_asked_for_are_not_left(tmp_path: Path) -> None:
    summary = predict_video(block_estimator(), Blocks(20), out=tmp_path, options=replace(PLAIN, formats=("csv",)))
    assert set(files_in(tmp_path)) == {"blocks.csv", "blocks.run.json"}
    assert [path.name for path in summary.files] == ["blocks.csv"]


def test_resume_with_other_formats_keeps_the_journal_or_makes_it_again(tmp_path: Path) -> None:
    def resumed(*formats: str) -> set[str]:
        options = VideoOptions(formats=formats, resume=True)
        assert predict_video(block_estimator(), Blocks(20), out=tmp_path, options=options).complete
        return set(files_in(tmp_path)) - {"blocks.run.json"}

    assert resumed("csv") == {"blocks.csv"}
    assert resumed("csv", "json") == {"blocks.csv", "blocks.jsonl"}
    assert resumed("csv") == {"blocks.csv", "blocks.jsonl"}
    assert resumed("coco-video") == {"blocks.csv", "blocks.jsonl", "blocks.coco.json"}


def test_a_run_that_was_only_begun_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    """A new run replaces an old one's record; its journal is removed by hand, the old one's still stands there."""
    predict_video(block_estimator(), Blocks(20), out=tmp_path, options=PLAIN)
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(fails=(17, KilledError())), out=tmp_path, options=PLAIN)
    (tmp_path / "blocks.partial.jsonl").unlink()
    assert predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(PLAIN, resume=True)).frames == 100
    assert len(list(read_frames_of(tmp_path / "blocks.jsonl"))) == 100


def test_results_do_not_give_a_password_away(tmp_path: Path) -> None:
    options = replace(PLAIN, formats=("json", "csv"))
    predict_video(block_estimator(), Blocks(5), out=tmp_path, location="rtsp://me:secret@cam/1", options=options)
    assert b"rtsp://cam/1" in files_in(tmp_path)["blocks.jsonl"]
    assert not [name for name, data in files_in(tmp_path).items() if b"secret" in data]


def test_the_record_of_a_run_says_what_it_was(whole: dict[str, Path]) -> None:
    run = json.loads((whole["online"] / "blocks.run.json").read_text())
    assert run["schema"] == "vitpose.run/1"
    assert run["identity"]["options"]["smoothing"]["method"] == "kalman"
    assert run["identity"]["model"]["engine"] == "corners"
    assert (run["complete"], run["frames"]) == (True, 100)


def test_misuse_is_named(tmp_path: Path) -> None:
    estimator, later = block_estimator(), SmoothingSettings(method="rts")
    with pytest.raises(UsageError, match="nothing is written without a folder"):
        predict_video(estimator, Blocks(), options=VideoOptions(smoothing=later))
    with pytest.raises(UsageError, match="a live source has gone"):
        predict_video(estimator, Blocks(live=True), out=tmp_path, options=VideoOptions(smoothing=later))
    with pytest.raises(UsageError, match="nothing to resume"):
        predict_video(estimator, Blocks(live=True), out=tmp_path, options=VideoOptions(resume=True))
    with pytest.raises(UsageError, match="needs a tracker"):
        VideoOptions(smoothing=later, tracker=None)
    with pytest.raises(UsageError, match="'jsn'; did you mean 'json'"):
        VideoOptions(formats=("jsn",))
    with pytest.raises(UsageError, match="detect_every is 0"):
        VideoOptions(detect_every=0)
    with pytest.raises(UsageError, match="unknown tracker 'pos'; did you mean 'pose'"):
        predict_video(estimator, Blocks(), options=VideoOptions(tracker="pos"))
    with pytest.raises(UsageError, match="needs the tracker 'pose'"):
        predict_video(estimator, Blocks(), options=VideoOptions(tracker=None, max_people=2))
    blind = block_estimator()
    blind.detector = None
    with pytest.raises(UsageError, match="needs a detector"):
        predict_video(blind, Blocks())


def test_at_most_so_many_people(tmp_path: Path) -> None:
    predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(PLAIN, max_people=2))
    frames = read_frames_of(tmp_path / "blocks.jsonl")
    ids = {int(one) for frame in frames if frame.poses.track_ids is not None for one in frame.poses.track_ids}
    assert {1, 2} <= ids <= {-1, 1, 2}


def test_the_span_is_part_of_what_a_run_is() -> None:
    assert VideoOptions(span=Span(1.0, 2.0, 3)).identity() != VideoOptions().identity()


def test_a_source_that_gives_nothing_more_is_told_to_stop(tmp_path: Path) -> None:
    """Somebody gives up on a camera that stalls: nothing waits for its next frame."""
    told = threading.Event()

    class Stalling(Blocks):
        def frames(self, after: int = -1) -> Iterator[Frame]:
            yield from super().frames(after)
            assert told.wait(60)

        def stop(self) -> None:
            told.set()

    def give_up(frame: Frame, _: object) -> None:
        if frame.index == 3:
            raise KeyboardInterrupt

    begun = time.monotonic()
    source, listeners = Stalling(4, live=True), Listeners(frame=give_up)
    summary = predict_video(block_estimator(), source, out=tmp_path, options=PLAIN, listeners=listeners)
    assert summary.complete
    assert told.is_set()
    assert time.monotonic() - begun < PATIENCE_S
    assert not still_running()


@pytest.mark.parametrize("kind", ["online", "offline"])
def test_a_film_is_drawn_later_or_left_as_it_is(whole: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """With and without the annotated film are one run, once all frames are there."""
    options = ONLINE if kind == "online" else OFFLINE
    without = tuple(one for one in FORMATS if one != "overlay")
    predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(options, formats=without))
    assert not (tmp_path / "blocks.mp4").exists()
    detector = BlockDetector()
    again = replace(options, resume=True)
    summary = predict_video(block_estimator(detector=detector), Blocks(), out=tmp_path, options=again)
    assert tmp_path / "blocks.mp4" in summary.files
    found = files_in(tmp_path)
    assert found["blocks.mp4"] == files_in(whole[kind])["blocks.mp4"]
    for formats in (("json",), ("parquet",), FORMATS):
        predict_video(
            block_estimator(detector=detector), Blocks(), out=tmp_path, options=replace(again, formats=formats)
        )
    assert files_in(tmp_path).items() >= {name: found[name] for name in found if name != "blocks.run.json"}.items()
    assert detector.pictures == 0, "everything is made from the journal"


def test_drawing_later_can_be_stopped_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict_video(block_estimator(), Blocks(40), out=tmp_path, options=PLAIN)
    before = files_in(tmp_path)
    again = replace(PLAIN, resume=True, formats=("json", "overlay"))

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vitpose.pipeline.stream._Run._draw", stop)
        summary = predict_video(block_estimator(), Blocks(40), out=tmp_path, options=again)
    assert (summary.interrupted, summary.complete) == (True, False)
    assert files_in(tmp_path) == before
    assert predict_video(block_estimator(), Blocks(40), out=tmp_path, options=again).complete
    assert (tmp_path / "blocks.mp4").exists()


def test_a_journal_nobody_asked_for_again_stays(tmp_path: Path) -> None:
    predict_video(block_estimator(), Blocks(20), out=tmp_path, options=PLAIN)
    journal = tmp_path / "blocks.jsonl"
    mended = journal.read_text().replace('"track_id": 1', '"track_id": 7')
    journal.write_text(mended)
    predict_video(block_estimator(), Blocks(30), out=tmp_path, options=replace(PLAIN, formats=("csv",)))
    assert journal.read_text() == mended
    assert set(files_in(tmp_path)) == {"blocks.jsonl", "blocks.csv", "blocks.run.json"}
    more = replace(PLAIN, formats=("csv", "coco-video"), resume=True)
    predict_video(block_estimator(), Blocks(30), out=tmp_path, options=more)
    assert len(json.loads((tmp_path / "blocks.coco.json").read_text())["images"]) == 30, "not made from another run's"


@pytest.mark.parametrize("formats", [("json",), ("json", "overlay")])
def test_a_run_that_begins_anew_takes_away_what_another_left(tmp_path: Path, formats: tuple[str, ...]) -> None:
    options = replace(PLAIN, formats=("json", "overlay"))
    with pytest.raises(KilledError):
        predict_video(block_estimator(), Blocks(2000, fails=(1000, KilledError())), out=tmp_path, options=options)
    assert (tmp_path / "blocks.parts").is_dir()
    assert (tmp_path / "blocks.partial.mp4").exists()
    (tmp_path / "blocks.smoothed.jsonl").write_bytes((tmp_path / "blocks.partial.jsonl").read_bytes())
    predict_video(block_estimator(), Blocks(20), out=tmp_path, options=replace(options, formats=formats))
    expected = {"blocks.jsonl", "blocks.run.json"} | ({"blocks.mp4"} if "overlay" in formats else set())
    assert set(files_in(tmp_path)) == expected


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    options = replace(PLAIN, formats=("json", "coco-video"))
    predict_video(block_estimator(), Blocks(5), out=tmp_path, name="caf\udce9", options=options)
    (path,) = tmp_path.glob("*.coco.json")
    assert json.loads(path.read_text())["videos"][0]["name"] == "caf?"
