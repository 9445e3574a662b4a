"""The sound of a source stays beside its pictures, whatever it is stored as and wherever the film begins."""

import logging
from fractions import Fraction

import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.media.video import read_frames
from vitpose.media.video_writer import SegmentedVideo

av = pytest.importorskip("av")

CLICKS_S = (0.5, 1.5, 2.5, 3.5, 7.5, 8.5, 9.5)
RATE = 10


def source(path, codec="aac", *, rate=48_000, length_s=4.0, sound_s=None, container=None):
    """Write a film with a click in its sound at the given times."""
    with av.open(str(path), "w", format=container) as film:
        pictures = film.add_stream("mpeg4", rate=RATE, width=32, height=32, pix_fmt="yuv420p")
        sound = film.add_stream(codec, rate=rate, layout="mono")
        samples = np.zeros(int((sound_s or length_s) * rate), np.float32)
        for click_s in CLICKS_S:
            samples[int(click_s * rate) : int(click_s * rate) + 20] = 0.9
        for number in range(round(length_s * RATE)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 5 * number % 250, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            film.mux(pictures.encode(frame))
        for start in range(0, len(samples), 1000):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1000], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            film.mux(sound.encode(frame))
        film.mux(sound.encode())
        film.mux(pictures.encode())
    return path


def annotated(path, of, start_s=0.0, end_s=1e9, **options):
    """Write the frames of a span of ``of`` with its sound; return the film and its first and last time in ``of``."""
    frames = [frame for frame in read_frames(of) if start_s <= frame.time_s < end_s]
    film = SegmentedVideo(path, size=Size(32, 32), audio_from=of, segment_frames=7, **options)
    for frame in frames:
        film.add(frame.time_s, frame.image)
    return film.finish(complete=True), frames[0].time_s, frames[-1].time_s


def clicks(path):
    """Return when clicks are heard, in seconds on the film's clock."""
    heard = []
    with av.open(str(path)) as film:
        resampler = av.AudioResampler(format="fltp", layout="mono")
        for frame in film.decode(audio=0):
            for part in resampler.resample(frame):
                loud = np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.3)
                heard.extend(float(frame.time) + loud / part.sample_rate)
    return [time for time, before in zip(heard, [-1.0, *heard], strict=False) if time - before > 0.1]


def sound_of(path):
    with av.open(str(path)) as film:
        stream = film.streams.audio[0]
        return stream.codec_context.codec.canonical_name, float(stream.duration * stream.time_base)


STORED = [
    ("a.mp4", "aac", 44_100, None, "aac"),
    ("a.ts", "aac", 48_000, "mpegts", "aac"),
    ("a.mkv", "libopus", 48_000, None, "opus"),
    ("a.mkv", "libmp3lame", 44_100, None, "mp3"),
    ("a.mkv", "flac", 44_100, None, "flac"),
    ("a.mkv", "ac3", 48_000, None, "ac3"),
    ("a.avi", "pcm_s16le", 44_100, None, "aac"),
    ("a.mkv", "pcm_s16le", 11_024, None, "aac"),
]


@pytest.mark.parametrize(("name", "codec", "rate", "container", "becomes"), STORED, ids=str)
@pytest.mark.parametrize("span_s", [(0.0, 1e9), (1.0, 3.0), (1.25, 2.0)], ids=["all", "part", "between frames"])
def test_clicks_stay_where_they_were(tmp_path, name, codec, rate, container, becomes, span_s):
    of = source(tmp_path / name, codec, rate=rate, container=container)
    film, first_s, last_s = annotated(tmp_path / "out.mp4", of, *span_s)
    length_s = last_s + 1 / RATE - first_s
    expected = [click_s - first_s for click_s in clicks(of) if first_s <= click_s < first_s + length_s]
    assert clicks(film) == pytest.approx(expected, abs=0.002)
    found, sound_s = sound_of(film)
    assert found == becomes
    assert sound_s == pytest.approx(length_s, abs=0.08)  # an AC-3 or Opus source begins a packet late
    with av.open(str(film)) as opened:
        assert opened.duration / 1e6 == pytest.approx(length_s, abs=1e-3)
        assert next(opened.decode(video=0)).pts == 0


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_late_part_is_sought(tmp_path, codec):
    of = source(tmp_path / "a.mkv", codec, length_s=10.0)
    film, first_s, _ = annotated(tmp_path / "out.mp4", of, 8.0, 10.0)
    assert clicks(film) == pytest.approx([8.5 - first_s, 9.5 - first_s], abs=0.002)


def test_a_resumed_film_has_the_same_sound(tmp_path):
    of = source(tmp_path / "a.mp4")
    whole = annotated(tmp_path / "whole.mp4", of)[0].read_bytes()
    frames = list(read_frames(of))
    with SegmentedVideo(tmp_path / "b.mp4", size=Size(32, 32), audio_from=of, segment_frames=7) as film:
        for frame in frames[:20]:
            film.add(frame.time_s, frame.image)
    with SegmentedVideo(tmp_path / "b.mp4", size=Size(32, 32), audio_from=of, segment_frames=7, resume=True) as film:
        for frame in frames[film.next_ordinal :]:
            film.add(frame.time_s, frame.image)
        assert film.finish(complete=True).read_bytes() == whole


def test_sound_that_ends_early_ends_early(tmp_path):
    film, *_ = annotated(tmp_path / "out.mp4", source(tmp_path / "a.mp4", sound_s=1.0))
    assert clicks(film) == pytest.approx([0.5], abs=0.002)
    assert len(list(read_frames(film))) == 40


def test_without_sound_the_film_is_silent(tmp_path):
    silent = SegmentedVideo(tmp_path / "silent.mp4", size=Size(32, 32))
    silent.add(0.0, np.zeros((32, 32, 3), np.uint8))
    film, *_ = annotated(tmp_path / "out.mp4", silent.finish(complete=True))
    with av.open(str(film)) as opened:
        assert [stream.type for stream in opened.streams] == ["video"]


@pytest.mark.parametrize("damage", ["gone", "no film", "cut"])
def test_sound_that_cannot_be_had_costs_the_sound_alone(tmp_path, caplog, damage):
    of = source(tmp_path / "a.mkv", "libmp3lame")
    frames = list(read_frames(of))
    if damage == "gone":
        of.unlink()
    elif damage == "no film":
        of.write_text("no film" * 100)
    else:
        data = of.read_bytes()
        of.write_bytes(data[: len(data) // 2])
    film = SegmentedVideo(tmp_path / "out.mp4", size=Size(32, 32), audio_from=of)
    for frame in frames:
        film.add(frame.time_s, frame.image)
    with caplog.at_level(logging.WARNING, "vitpose"):
        path = film.finish(complete=True)
    assert len(list(read_frames(path))) == len(frames)
    if damage == "cut":
        assert clicks(path)[0] == pytest.approx(0.5, abs=0.002)
        assert len(clicks(path)) < 4
    else:
        assert f"the sound of {of} cannot be read" in caplog.text
