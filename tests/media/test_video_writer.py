"""Films are written whole, with the times they came with, and end the same however often a run is killed."""

import os
import random
import resource
import subprocess
import sys
import textwrap
import time
from fractions import Fraction

import numpy as np
import pytest

from vitpose.core.errors import MissingExtraError, UsageError, VitPoseError
from vitpose.core.geometry import Size
from vitpose.media.segments import segment_stamps
from vitpose.media.video import read_frames
from vitpose.media.video_writer import SegmentedVideo

av = pytest.importorskip("av")

SIZE = Size(48, 64)
TICK = 1 / 90_000


def grey(number, size=SIZE):
    """A frame that can be told from its neighbours after compression."""
    return np.full((*size, 3), 20 + 37 * number % 200, np.uint8)


def noise(number, size=SIZE):
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def write(path, times, image=grey, *, size=SIZE, complete=True, segment_frames=8, **options):
    film = SegmentedVideo(path, size=size, segment_frames=segment_frames, **options)
    for number, time_s in list(enumerate(times))[film.next_ordinal :]:
        film.add(time_s, image(number, size))
    return film.finish(complete)


def assert_shows(path, times):
    """Every frame is there, in order, at its time on the film's own clock."""
    frames = list(read_frames(path))
    assert len(frames) == len(times)
    for number, (frame, time_s) in enumerate(zip(frames, times, strict=True)):
        assert frame.image.mean() == pytest.approx(grey(number).mean(), abs=4), number
        assert frame.time_s == pytest.approx(time_s - times[0], abs=1.01 * TICK)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file_is_left_and_any_player_plays_it(tmp_path):
    path = write(tmp_path / "a.b.mp4", [n / 25 for n in range(20)])
    assert path == tmp_path / "a.b.mp4"
    assert names(tmp_path) == ["a.b.mp4"]
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.width, codec.height) == ("h264", "yuv420p", 64, 48)
        assert codec.has_b_frames == 0
        assert container.start_time == 0
        said = {key: words for key, words in container.metadata.items() if "brand" not in key and "version" not in key}
        assert said == {"comment": "Poses drawn by vitpose"}, "by which the next run knows it, and no date"


@pytest.mark.parametrize(
    "times",
    [
        [n / 25 for n in range(20)],
        [0, 0.04, 0.05, 0.0501, 1.7, 1.71, 9, 9.01, 9.03, 9.1, 9.2],
        [3600.5 + n * 1001 / 30_000 for n in range(17)],
        [1.7e9 + n / 7 for n in range(9)],
        [-2.0, -1.0, 0.5],
        [n / 25 - 0.5 for n in range(20)],
        [5.0],
    ],
    ids=["even", "uneven", "late", "wall clock", "below zero", "below zero, segments", "one frame"],
)
def test_times_are_kept(tmp_path, times):
    assert_shows(write(tmp_path / "a.mp4", times), times)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17])
def test_no_frame_is_lost_at_seams_or_ends(tmp_path, count):
    times = [n / 25 for n in range(count)]
    for complete, name in [(False, "a.partial.mp4"), (True, "a.mp4")]:
        path = write(tmp_path / "a.mp4", times, complete=complete)
        assert path == tmp_path / name
        assert_shows(path, times)
        assert names(tmp_path) == [name], "a whole film replaces the partial one"


def test_length_does_not_drift_over_many_segments(tmp_path):
    count, step = 600, Fraction(1001, 30_000)
    path = write(tmp_path / "a.mp4", [float(n * step) for n in range(count)], segment_frames=5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.frames == count
        assert float(stream.duration * stream.time_base) == pytest.approx(float(count * step), abs=2 * TICK)
        assert container.duration / 1e6 == pytest.approx(float(count * step), abs=1e-4)
        stamps = [float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.size]
    assert stamps == pytest.approx([float(n * step) for n in range(count)], abs=TICK)


def test_times_that_stand_still_or_go_back_are_shown_just_after(tmp_path, caplog):
    path = write(tmp_path / "a.mp4", [0, 0.1, 0.1, 0.05, 0.2])
    assert [frame.time_s for frame in read_frames(path)] == pytest.approx([0, 0.1, 0.1 + TICK, 0.1 + 2 * TICK, 0.2])
    assert caplog.text.count("is not after the one at 0.100 s") == 1
    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE)
    with pytest.raises(UsageError, match="nan, not a number"):
        film.add(float("nan"), grey(0))


@pytest.mark.parametrize("size", [Size(1, 1), Size(2, 2), Size(33, 64), Size(48, 65), Size(17, 19)])
def test_odd_sizes_get_a_row_or_column_more(tmp_path, size):
    def left_dark(number, size):
        image = np.full((*size, 3), 200, np.uint8)
        image[:, : size.width // 2] = 40
        return image

    image = next(iter(read_frames(write(tmp_path / "a.mp4", [0, 0.1], left_dark, size=size)))).image
    assert image.shape == (size.height + size.height % 2, size.width + size.width % 2, 3)
    inside = image[: size.height, : size.width].astype(int)
    assert np.abs(inside - left_dark(0, size)).mean() < 8
    assert np.abs(image[-1, -1].astype(int) - 200).max() < 15, "no dark border"


def test_colours_survive(tmp_path):
    def red(number, size):
        return np.broadcast_to(np.array([200, 50, 10], np.uint8), (*size, 3))

    image = next(iter(read_frames(write(tmp_path / "a.mp4", [0, 0.1], red)))).image
    np.testing.assert_allclose(image[20, 20], [200, 50, 10], atol=12)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    times = [n / 25 for n in range(20)]
    one, two = (write(tmp_path / name, times, noise).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert one == two
    assert one != write(tmp_path / "c.mp4", [*times[:-1], 30.0], noise).read_bytes()


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path):
    times = [n / 25 for n in range(20)]
    whole = write(tmp_path / "whole.mp4", times, noise).read_bytes()
    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=8)
    for number in range(13):
        film.add(times[number], noise(number))
    assert film.next_ordinal == 8
    film.close()
    again = SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=8, resume=True)
    assert again.next_ordinal == 8
    for number in range(8, 15):
        again.add(times[number], noise(number))
    partial = again.finish(complete=False, keep_parts=True)
    assert len(list(read_frames(partial))) == 15
    assert write(tmp_path / "a.mp4", times, noise, resume=True).read_bytes() == whole
    assert names(tmp_path) == ["a.mp4", "whole.mp4"]


def test_a_time_that_stands_still_at_a_seam_is_resumed_alike(tmp_path):
    times = [0.0, 0.1, 0.2, 0.3, 0.3, 0.3, 0.4]
    whole = write(tmp_path / "whole.mp4", times, segment_frames=4).read_bytes()
    with SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=4) as film:
        for number in range(5):
            film.add(times[number], grey(number))
    assert write(tmp_path / "a.mp4", times, segment_frames=4, resume=True).read_bytes() == whole


@pytest.mark.parametrize(
    "otherwise", [{"size": Size(48, 66)}, {"segment_frames": 3}, {"rate": 5.0}, {"resume": False}], ids=str
)
def test_segments_made_otherwise_are_dropped_and_nothing_else(tmp_path, otherwise):
    parts = tmp_path / "a.parts"
    options = {"size": SIZE, "segment_frames": 2, "resume": True}
    with SegmentedVideo(tmp_path / "a.mp4", **options) as film:
        for number in range(5):
            film.add(number, grey(number))
    (parts / "mine.txt").write_text("somebody's")
    (parts / ".part-0123.nut").write_text("half a segment")
    assert SegmentedVideo(tmp_path / "a.mp4", **options).next_ordinal == 4
    assert names(parts) == ["000000.nut", "000001.nut", "film.json", "mine.txt"]
    assert SegmentedVideo(tmp_path / "a.mp4", **options | otherwise).next_ordinal == 0
    assert names(parts) == ["film.json", "mine.txt"]


CHILD = """
    import random, sys, time
    import numpy as np
    from pathlib import Path
    from vitpose.core.geometry import Size
    from vitpose.media.video_writer import SegmentedVideo

    film = SegmentedVideo(Path(sys.argv[1]), size=Size(48, 64), segment_frames=8, resume=True)
    print(film.next_ordinal, flush=True)
    for number in range(film.next_ordinal, 60):
        film.add(number / 25 + number % 3 / 100, np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
        print(number, flush=True)
        time.sleep(0.002)
    print("finish", flush=True)
    film.finish(True)
"""


def test_killed_at_any_time_a_run_goes_on_and_ends_alike(tmp_path):
    times = [n / 25 + n % 3 / 100 for n in range(60)]
    whole = write(tmp_path / "whole.mp4", times, noise).read_bytes()
    path, parts = tmp_path / "a.mp4", tmp_path / "a.parts"
    chance = random.Random(0)
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(path)]
    starts = []
    for last_line in ["9", "30", "41", "57", "finish", "finish", None]:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        ) as child:
            starts.append(int(child.stdout.readline()))
            for line in child.stdout:
                if line.strip() == last_line:
                    time.sleep(chance.uniform(0, 0.02))
                    child.kill()
                    break
            child.wait()
        if path.exists():
            break
        assert child.returncode != 0
        for segment in parts.glob("*.nut"):
            assert len(segment_stamps(segment)) == 8, "whole or absent"
    assert path.read_bytes() == whole
    assert starts == sorted(starts), "what was whole stayed whole"
    assert starts[-1] == 56


def test_a_full_disk_says_so_and_keeps_what_was_whole(tmp_path):
    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=4)
    for number in range(6):
        film.add(number, noise(number))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # as good as a full disk: writing fails in the middle
    try:
        with pytest.raises(VitPoseError, match=r"cannot write .*the first 4 frames stay in .*a\.parts: make room"):
            for number in range(6, 9):
                film.add(number, noise(number))
        with pytest.raises(UsageError, match="was closed"):
            film.add(9, noise(9))
        with pytest.raises(UsageError, match="before all its frames"):
            film.finish(complete=True)
        with pytest.raises(VitPoseError, match=r"cannot write .*the first 4 frames stay in .*a\.parts: make room"):
            film.finish(complete=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["a.parts"]
    assert names(tmp_path / "a.parts") == ["000000.nut", "film.json"]
    assert len(list(read_frames(write(tmp_path / "a.mp4", range(9), noise, segment_frames=4, resume=True)))) == 9


@pytest.mark.parametrize(("frames", "left"), [(0, []), (3, ["a.partial.mp4"]), (4, ["a.partial.mp4", "a.parts"])])
def test_segments_are_kept_only_where_there_are_any(tmp_path, frames, left):
    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=4)
    for number in range(frames):
        film.add(number / 25, grey(number))
    film.finish(complete=False, keep_parts=True)
    assert names(tmp_path) == left


@pytest.mark.parametrize(("where", "kept"), [("SegmentEncoder.add", 7), ("PartsFolder.save", 8)])
def test_an_interrupt_while_a_frame_is_written_loses_none_before_it(tmp_path, monkeypatch, where, kept):
    def interrupted(*_):
        raise KeyboardInterrupt

    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=4)
    times = [n / 25 for n in range(8)]
    for number in range(7):
        film.add(times[number], grey(number))
    monkeypatch.setattr(f"vitpose.media.segments.{where}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        film.add(times[7], grey(7))
    with pytest.raises(UsageError, match="before all its frames"):
        film.finish(complete=True)
    assert_shows(film.finish(complete=False), times[:kept])


def test_a_segment_goes_to_disk_as_soon_as_it_is_full(tmp_path):
    with SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=4) as film:
        for number in range(40):
            film.add(number, noise(number))
            assert len(list((tmp_path / "a.parts").glob("*.nut"))) == (number + 1) // 4


def test_wrong_use_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"\.mp4, not a\.avi"):
        SegmentedVideo(tmp_path / "a.avi", size=SIZE)
    with pytest.raises(UsageError, match="segments of 0"):
        SegmentedVideo(tmp_path / "a.mp4", size=SIZE, segment_frames=0)
    film = SegmentedVideo(tmp_path / "a.mp4", size=Size(16, 20_000))
    with pytest.raises(VitPoseError, match=r"20000x16 pixels as H.264 .* 16384 at most"):
        film.add(0, grey(0, Size(16, 20_000)))
    film = SegmentedVideo(tmp_path / "a.mp4", size=SIZE)
    with pytest.raises(UsageError, match=r"of 64x48 pixels, not \(48, 66, 3\)"):
        film.add(0, grey(0, Size(48, 66)))
    assert film.finish(complete=True) is None, "no frame, no film"
    assert names(tmp_path) == []
    with pytest.raises(UsageError, match="was closed"):
        film.add(0, grey(0))


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    def none(name, mode):
        raise ValueError(name)

    with monkeypatch.context() as patch:
        patch.setattr(av.codec, "Codec", none)
        with pytest.raises(VitPoseError, match=r"libx264.*install PyAV's wheels"):
            SegmentedVideo(tmp_path / "a.mp4", size=SIZE)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"vitpose\[video\]"):
        SegmentedVideo(tmp_path / "a.mp4", size=SIZE)
