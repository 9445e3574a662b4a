"""Frames come upright, in order, with the times of the file, and one at a time."""

import logging
import os
import struct
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from vitpose.core.errors import InputError, MissingExtraError, UsageError
from vitpose.core.geometry import Size
from vitpose.media.container import packets
from vitpose.media.numbering import find_keyframes
from vitpose.media.sources import Source
from vitpose.media.video import Span, VideoFile, open_frames, read_frames

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


def facts(frames):
    return [(frame.index, frame.time_s, frame.image.tobytes()) for frame in frames]


def entries(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [key.index for key in find_keyframes(packets(container, stream), container, stream)]


GROUPS = {"g": "20"}

# Film, whether it is entered at keyframes, and how it is made.
KINDS = {
    "h264.mp4": (True, {"options": GROUPS}),
    "pieces.mp4": (True, {"options": GROUPS, "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "refresh.mp4": (True, {"options": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"}}),
    "h264.mkv": (True, {"options": GROUPS, "sound": True}),
    "hevc.mp4": (True, {"codec": "libx265", "options": {"x265-params": "keyint=20:open-gop=1:log-level=none"}}),
    "vp9.webm": (True, {"codec": "libvpx-vp9", "options": GROUPS | {"deadline": "realtime", "cpu-used": "8"}}),
    "mpeg4.mp4": (True, {"codec": "mpeg4", "options": GROUPS | {"bf": "2"}}),
    "mjpeg.mkv": (True, {"codec": "mjpeg"}),
    "cut.mp4": (True, {"options": GROUPS, "shift": -100}),
    "vp8.webm": (False, {"codec": "libvpx", "options": GROUPS | {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "h264.ts": (False, {"options": GROUPS}),
    "mpeg4.avi": (False, {"codec": "mpeg4", "options": GROUPS}),
    "raw.h264": (False, {"options": GROUPS, "form": "h264"}),
}


@pytest.mark.parametrize("name", KINDS)
def test_going_on_after_any_frame_gives_the_tail_of_a_full_read(make_film, name, caplog):
    entered, options = KINDS[name]
    path = make_film(name, **options)
    film = VideoFile(path)
    with caplog.at_level(logging.DEBUG, logger="vitpose"):
        full = facts(film.frames())
        last = full[-1][0]
        assert [index for index, _, _ in full] == list(range(last + 1))
        for after in [-1, 0, 18, 19, 20, 21, 39, 47, last - 1, last]:
            assert facts(film.frames(after)) == full[after + 1 :]
    assert not caplog.records  # no keyframe was missed
    assert (len(entries(path)) > 2) == entered


def test_keyframes_that_need_what_came_before_are_not_entered(make_film):
    parameters = "open-gop=1:keyint=20:min-keyint=20:scenecut=0"
    path = make_film(options={"x264-params": parameters})
    with av.open(str(path)) as container:
        marked = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    assert marked > 3
    assert entries(path) == [0]
    film = VideoFile(path)
    assert facts(film.frames(70)) == facts(film.frames())[71:]


def test_damage_before_the_entry_does_not_change_the_numbers(make_film):
    path = make_film(codec="mjpeg")
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + len(data) // 4
    data[place : place + 3000] = bytes(3000)
    path.write_bytes(data)
    film = VideoFile(path)
    full = facts(film.frames())
    assert full[-1][0] == 99
    assert 80 < len(full) < 100
    for after in (0, 30, 50, 98):
        assert facts(film.frames(after)) == [fact for fact in full if fact[0] > after]


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_span_is_the_same_part_of_a_full_read(make_film, name):
    path = make_film(name, options=GROUPS)
    full = facts(VideoFile(path).frames())
    for span in [Span(1.0), Span(0, 1.0), Span(0.9, 2.22), Span(0, None, 3), Span(0.85, 3.1, 7), Span(-5, 0.2)]:
        end_s = float("inf") if span.end_s is None else span.end_s
        expected = [one for one in full if span.start_s <= one[1] < end_s and one[0] % span.stride == 0]
        assert expected
        film = VideoFile(path, span)
        assert facts(film.frames()) == expected
        assert facts(film.frames(expected[len(expected) // 2][0])) == expected[len(expected) // 2 + 1 :]


def test_a_span_in_which_nothing_lies_is_an_error_but_a_finished_run_is_not(make_film):
    path = make_film()
    with pytest.raises(InputError, match=r"film\.mp4 has no frame from 50 s to the end; the last .* 3\.960 s"):
        list(VideoFile(path, Span(50.0)).frames())
    with pytest.raises(InputError, match="multiple of 90 from 1 s to 2 s"):
        list(VideoFile(path, Span(1.0, 2.0, 90)).frames())
    assert list(VideoFile(path, Span(50.0)).frames(99)) == []


def test_the_facts_about_a_film(make_film):
    info = VideoFile(make_film(sound=True)).info
    assert info.size == Size(64, 96)
    assert (info.rate, info.frames, info.duration_s) == (25.0, 100, 4.0)
    assert (info.audio, info.live) == (True, False)
    turned = make_film("turned.mp4", range(2))
    turn(turned, 90)
    assert VideoFile(turned).info.size == Size(96, 64)
    assert not VideoFile(turned).info.audio


def test_memory_does_not_grow_when_going_on(tmp_path):
    film = VideoFile(make_video(tmp_path / "a.mp4", range(600)))
    assert len(list(film.frames(590))) == 9
    tracemalloc.start()
    assert sum(1 for _ in film.frames(100)) == 499
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * HEIGHT * WIDTH * 3


def test_a_rate_is_for_films_without_times(make_film):
    raw = make_film("a.h264", form="h264")
    assert [frame.time_s for frame in VideoFile(raw, rate=50).frames()] == pytest.approx(np.arange(100) / 50)
    timed = make_film("a.mp4")
    assert [frame.time_s for frame in VideoFile(timed, rate=50).frames()] == pytest.approx(np.arange(100) / 25)


def stamp(path, index, time_ms):
    """Change the time stamp of an early frame of a Matroska film of motion JPEG, whose frames are 40 ms apart."""
    data = path.read_bytes()
    old = b"\x81" + struct.pack(">h", 40 * index) + b"\x80\xff\xd8"  # track, time in the cluster, flags, picture
    assert old in data
    path.write_bytes(data.replace(old, b"\x81" + struct.pack(">h", time_ms) + b"\x80\xff\xd8", 1))


def test_times_that_repeat_or_go_back_keep_the_order_of_decoding(make_film, caplog):
    path = make_film("a.mkv", range(0, 80, 4), codec="mjpeg", size=(16, 32))
    stamp(path, 2, 40)  # that of frame 1
    stamp(path, 4, 80)  # that frame 2 had
    film = VideoFile(path)
    with caplog.at_level(logging.WARNING):
        full = facts(film.frames())
    assert [index for index, _, _ in full] == list(range(20))
    expected = [i / 25 for i in range(20)]
    expected[2], expected[4] = 0.04, 0.12
    assert [time_s for _, time_s, _ in full] == pytest.approx(expected)
    assert [record.message for record in caplog.records if "go back" in record.message] == [
        f"{path}: time stamps go back from 0.120 s to 0.080 s at frame 4; such frames get the time before them"
    ]
    for after in (0, 1, 2, 3, 4, 15):
        assert facts(film.frames(after)) == full[after + 1 :]


def two_sizes(path, second):
    """Write motion JPEG whose picture changes its size at frame 5."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        other = av.CodecContext.create("mjpeg", "w")
        other.width, other.height, other.pix_fmt = second[1], second[0], "yuvj420p"
        other.time_base = Fraction(1, 25)
        for i in range(10):
            encoder, (height, width) = (stream, (HEIGHT, WIDTH)) if i < 5 else (other, second)
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            for packet in encoder.encode(frame):
                packet.stream = stream
                container.mux(packet)
    return path


def test_a_size_that_changes_is_said_and_scaled_to_the_first(tmp_path, caplog):
    path = two_sizes(tmp_path / "a.mkv", (HEIGHT * 2, WIDTH))
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(path))
    assert [frame.image.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 10
    assert [int(frame.image[5, 5, 0]) for frame in frames] == pytest.approx(range(0, 200, 20), abs=3)
    assert len([record for record in caplog.records if "scaled to the 96x64 of the first" in record.message]) == 1
    assert facts(VideoFile(path).frames(6)) == facts(frames[7:])


def test_frames_that_are_larger_than_the_header_says_are_not_decoded(tmp_path, monkeypatch, caplog):
    path = two_sizes(tmp_path / "a.mkv", (400, 400))
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", "100000")
    with caplog.at_level(logging.WARNING):
        assert len(list(read_frames(path))) == 5
    assert "5 packets could not be decoded" in caplog.text


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".avi"])
def test_a_film_without_frames(tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        container.start_encoding()
    with pytest.raises(
        InputError, match=rf"none\{suffix} (has no video stream|has a video stream, but|cannot be opened)"
    ):
        VideoFile(path)


def test_a_film_whose_pictures_were_cut_off_gives_what_it_holds(make_film, caplog):
    path = make_film(options=GROUPS | {"bf": "0"}, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: len(data) * 3 // 4])
    film = VideoFile(path)
    with caplog.at_level(logging.WARNING):
        full = facts(film.frames())
    assert 5 < len(full) < 100
    assert "film.mp4 breaks off: it ends before the 4.00 s it announces" in caplog.text
    assert facts(film.frames(4)) == full[5:]
    assert "could not be decoded" not in caplog.text
    beyond = VideoFile(path, Span(3.9))
    with pytest.raises(InputError, match=r"film\.mp4 has no frame from 3\.9 s to the end"):
        next(iter(beyond.frames()))
    assert list(beyond.frames(full[-1][0])) == [], "a run that goes on has had its frames"


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_a_film_that_begins_late_is_not_cut(make_film, caplog, name):
    path = make_film(name, range(0, 40, 4), shift=300)
    with caplog.at_level(logging.WARNING):
        times = [frame.time_s for frame in VideoFile(path).frames()]
    assert times[0] == pytest.approx(3.0)
    assert len(times) == 10
    assert "breaks off" not in caplog.text


def test_a_cover_picture_is_not_a_film(make_film):
    path = make_film("cover.mkv", range(1), codec="mjpeg", sound=True)
    assert VideoFile(path).info.audio
    data = path.read_bytes()
    with av.open(str(path)) as source, av.open(str(path.with_suffix(".m4a")), "w", format="mp4") as out:
        sound = out.add_stream_from_template(source.streams.audio[0])
        cover = out.add_stream_from_template(source.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux():
            if packet.size:
                packet.stream = sound if packet.stream.type == "audio" else cover
                out.mux(packet)
    assert data
    with pytest.raises(InputError, match=r"cover\.m4a has no video stream"):
        VideoFile(path.with_suffix(".m4a"))


def test_a_file_cannot_make_the_reader_open_others(tmp_path, make_film):
    make_film("inner.ts")
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXTINF:4,", "http://127.0.0.1:9/inner.ts", "#EXT-X-ENDLIST"]
    (tmp_path / "list.mp4").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"list\.mp4"):
        VideoFile(tmp_path / "list.mp4")


def test_only_sources_of_frames_are_opened(make_film):
    path = make_film(times=range(0, 12, 4))
    source = open_frames(Source("video", str(path), "clip"), Span(0.05))
    assert source.name == "clip"
    assert [frame.index for frame in source.frames()] == [2]
    with pytest.raises(UsageError, match="is a picture"):
        open_frames(Source("image", "a.jpg", "a"))
    for rate in (0, -1, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="rate"):
            open_frames(Source("video", str(path), "clip"), rate=rate)


@pytest.mark.parametrize(
    ("name", "frames", "size", "last_s"),
    [("mmpose_demo", 5, (540, 960), 0.8), ("posetrack_000001", 5, (720, 1280), 4 / 30)],
)
def test_real_clips(shared, name, frames, size, last_s):
    found = list(read_frames(shared / "data/videos" / f"{name}.mp4"))
    assert len(found) == frames
    assert {frame.image.shape[:2] for frame in found} == {size}
    assert found[-1].time_s == pytest.approx(last_s, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "frames", "stride", "audio"),
    [
        ("mmpose_demo", 5, 1, False),
        ("posetrack_000001", 5, 1, False),
        ("sam2_bedroom", 200, 3, False),
        ("sports2d_demo", 230, 7, True),
    ],
)
def test_real_clips_can_be_gone_on_with_anywhere(shared, name, frames, stride, audio, rng):
    film = VideoFile(shared / "data/videos" / f"{name}.mp4", Span(stride=stride))
    full = [(frame.index, frame.time_s, hash(frame.image.tobytes())) for frame in film.frames()]
    assert [index for index, _, _ in full] == list(range(0, frames, stride))
    assert (np.diff([time_s for _, time_s, _ in full]) > 0).all()
    assert (film.info.frames, film.info.audio) == (frames, audio)
    for after in rng.integers(-1, frames, 3).tolist():
        tail = [(frame.index, frame.time_s, hash(frame.image.tobytes())) for frame in film.frames(after)]
        assert tail == [one for one in full if one[0] > after]


def test_pipes_and_links_that_lead_nowhere_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    with pytest.raises(InputError, match=r"pipe\.mp4 is a pipe, not a file"):
        VideoFile(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match=r"gone\.mp4 is a link to nowhere\.mp4, which does not exist"):
        VideoFile(tmp_path / "gone.mp4")
