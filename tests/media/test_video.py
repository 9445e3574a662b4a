"""Frames come upright, in order, with the times of the file, and one at a time."""

import logging
import struct
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from vitpose.core.errors import InputError, MissingExtraError
from vitpose.media.video import read_frames

av = pytest.importorskip("av")

HEIGHT, WIDTH = 64, 96

# Four grey quadrants, far enough apart to survive compression and be told from each other.
QUADRANTS = {"top left": 30, "top right": 90, "bottom left": 150, "bottom right": 220}


def quadrants():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    h, w = HEIGHT // 2, WIDTH // 2
    image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:] = QUADRANTS.values()
    return image


def levels(image):
    h, w = image.shape[0] // 4, image.shape[1] // 4
    return [int(image[y, x].mean()) for y in (h, 3 * h) for x in (w, 3 * w)]


def make_video(path, times=range(10), codec="mpeg4", **options):
    """Write a clip whose frames are presented at ``times``, in hundredths of a second."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for time in times:
            frame = av.VideoFrame.from_ndarray(quadrants(), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path, degrees_clockwise):
    """Write a rotation into the track header of an MP4, as phones do (ISO 14496-12, 8.3.2)."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    one, unit = 1 << 16, 1 << 30
    data[matrix : matrix + 36] = struct.pack(
        ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, unit
    )
    path.write_bytes(data)


def test_frames_come_in_order_with_their_pixels(tmp_path):
    frames = list(read_frames(make_video(tmp_path / "a.mp4")))
    assert [frame.index for frame in frames] == list(range(10))
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert frame.image.dtype == np.uint8
        assert levels(frame.image) == pytest.approx(list(QUADRANTS.values()), abs=8)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_are_those_of_the_file_not_a_frame_rate(tmp_path, suffix):
    hundredths = [0, 4, 8, 30, 31, 95, 200]
    frames = list(read_frames(make_video(tmp_path / f"a{suffix}", hundredths)))
    assert [frame.time_s for frame in frames] == pytest.approx([time / 100 for time in hundredths], abs=1e-3)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_rotation_of_phones_is_applied(tmp_path, degrees):
    path = make_video(tmp_path / "a.mp4", range(2))
    turn(path, degrees)
    expected = np.rot90(quadrants(), -degrees // 90)
    frame = next(iter(read_frames(path)))
    assert frame.image.shape == expected.shape
    assert frame.image.flags.c_contiguous
    assert levels(frame.image) == pytest.approx(levels(expected), abs=8)


def test_a_stream_without_times_is_counted_by_its_rate(tmp_path):
    frames = list(read_frames(make_video(tmp_path / "a.m4v", range(0, 40, 4), format="m4v")))
    assert len(frames) == 10
    steps = np.diff([frame.time_s for frame in frames])
    assert steps == pytest.approx(np.full(9, steps[0]))
    assert steps[0] > 0


def test_memory_does_not_grow_with_the_clip(tmp_path):
    path = make_video(tmp_path / "a.mp4", range(300))
    one = HEIGHT * WIDTH * 3
    next(iter(read_frames(path)))
    tracemalloc.start()
    count = sum(1 for _ in read_frames(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 300
    assert peak < 30 * one


def test_frames_are_decoded_when_they_are_asked_for(tmp_path):
    frames = read_frames(make_video(tmp_path / "a.mp4", range(300)))
    assert next(frames).index == 0
    frames.close()  # ResourceWarnings would fail the test


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all" * 50)
    for name, words in [
        ("none.mp4", "does not exist"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be opened"),
        ("", "is a folder"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            list(read_frames(tmp_path / name))
        assert str(tmp_path / name) in str(caught.value)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"sound\.mp4 has no video stream"):
        list(read_frames(path))


def test_a_clip_cut_short_gives_what_it_holds(tmp_path):
    path = make_video(tmp_path / "a.mkv", range(100))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = list(read_frames(path))
    assert 10 < len(frames) < 100
    path = make_video(tmp_path / "b.mp4", range(100))  # an MP4 without its table at the end cannot be opened
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"b\.mp4 cannot be opened"):
        list(read_frames(path))


def test_damage_in_the_middle_does_not_end_the_clip(tmp_path, caplog):
    path = make_video(tmp_path / "a.mp4", range(100), codec="mjpeg")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(path))
    assert 90 < len(frames) < 100
    assert f"{100 - len(frames)} packets could not be decoded" in caplog.text
    assert frames[-1].time_s == pytest.approx(0.99)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"vitpose\[video\]"):
        list(read_frames(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("name", "frames", "size", "last_s"),
    [("mmpose_demo", 5, (540, 960), 0.8), ("posetrack_000001", 5, (720, 1280), 4 / 30)],
)
def test_real_clips(shared, name, frames, size, last_s):
    found = list(read_frames(shared / "data/videos" / f"{name}.mp4"))
    assert len(found) == frames
    assert {frame.image.shape[:2] for frame in found} == {size}
    assert found[-1].time_s == pytest.approx(last_s, abs=1e-3)
