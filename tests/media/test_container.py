"""Frames are turned as the file says, and are all of one size."""

import itertools
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size
from vitpose.media.container import BrokenOffError, UprightImages, last_packet, open_container, packets

av = pytest.importorskip("av")

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
ONE = 1 << 16


class DisplayMatrix:
    type = SimpleNamespace(name="DISPLAYMATRIX")

    def __init__(self, a, b, c, d):
        self.values = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)

    def __bytes__(self):
        return self.values.tobytes()


def frame(image, *matrix):
    data = [SimpleNamespace(type=SimpleNamespace(name="GOP_TIMECODE"))]
    return SimpleNamespace(to_ndarray=lambda **_: image, side_data=[*data, DisplayMatrix(*matrix)] if matrix else data)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((), PICTURE),
        ((ONE, 0, 0, ONE), PICTURE),
        ((0, ONE, -ONE, 0), np.rot90(PICTURE, -1)),
        ((-ONE, 0, 0, -ONE), np.rot90(PICTURE, 2)),
        ((0, -ONE, ONE, 0), np.rot90(PICTURE, 1)),
        ((-ONE, 0, 0, ONE), PICTURE[:, ::-1]),
        ((ONE, 0, 0, -ONE), PICTURE[::-1]),
        ((0, ONE, ONE, 0), PICTURE.transpose(1, 0, 2)),
        ((0, -ONE, -ONE, 0), np.rot90(PICTURE, 2).transpose(1, 0, 2)),
        ((0, 0, 0, 0), PICTURE),
        ((2 * ONE, 0, 0, 2 * ONE), PICTURE),
    ],
)
def test_every_turn_and_mirroring_is_applied_without_a_word(matrix, expected, caplog):
    with caplog.at_level(logging.WARNING):
        image = UprightImages("film")(frame(PICTURE, *matrix))
    np.testing.assert_array_equal(image, expected)
    assert image.flags.c_contiguous
    assert not caplog.records


@pytest.mark.parametrize(("angle_deg", "turns"), [(30, 0), (60, -1), (200, 2), (-80, 1)])
def test_odd_angles_go_to_the_nearest_quarter_turn_and_are_said_once(angle_deg, turns, caplog):
    cosine, sine = (int(ONE * f(np.deg2rad(angle_deg))) for f in (np.cos, np.sin))
    images = UprightImages("film")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            np.testing.assert_array_equal(images(frame(PICTURE, cosine, sine, -sine, cosine)), np.rot90(PICTURE, turns))
    assert len(caplog.records) == 1
    assert "film is to be turned by" in caplog.text


def test_frames_of_another_size_are_scaled_to_the_first_and_each_size_is_said_once(caplog):
    images = UprightImages("film")
    images.scale(np.zeros((20, 30, 3), np.uint8))
    half = np.zeros((10, 15, 3), np.uint8)
    half[:, 8:] = 200
    with caplog.at_level(logging.WARNING):
        for image in (half, half, np.repeat(np.repeat(half, 4, 0), 4, 1)):
            scaled = images.scale(image)
            assert scaled.shape == (20, 30, 3)
            assert scaled.dtype == np.uint8
            assert scaled[10, 5].tolist() == [0, 0, 0]
            assert scaled[10, 25].tolist() == [200, 200, 200]
    assert len(caplog.records) == 2
    assert "changes to 15x10 pixels; such frames are scaled to the 30x20 of the first" in caplog.text
    assert UprightImages("film", Size(5, 5)).scale(half).shape == (5, 5, 3)


def test_the_packet_before_a_break_is_held_back(make_film):
    """A part of it may be missing, which cannot be seen."""

    def demux(stream):
        yield from itertools.islice(container.demux(stream), 10)
        raise av.error.FFmpegError(5, "Input/output error")

    with av.open(str(make_film(options={"bf": "0"}))) as container:
        stream = container.streams.video[0]
        found = []
        with pytest.raises(BrokenOffError, match="Input/output error") as caught:
            found.extend(packet.pts for packet in packets(SimpleNamespace(demux=demux), stream))
        assert len(found) == 9
        assert caught.value.held.pts == found[-1] + found[1]
    with av.open(str(make_film(options={"bf": "0"}))) as container:
        stream = container.streams.video[0]
        frames = [frame for packet in itertools.islice(packets(container, stream), 10) for frame in packet.decode()]
        frames.extend(last_packet(stream).decode())
        assert len(frames) == 10


def test_the_limit_on_pixels_holds_before_decoding(make_film, monkeypatch):
    path = make_film(times=range(0, 8, 4))
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", str(64 * 96 - 1))
    with pytest.raises(InputError, match=r"film\.mp4 has frames of 96x64 pixels.*VITPOSE_MAX_PIXELS"):
        open_container(str(path), str(path), options={})
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", str(64 * 96))
    container, stream = open_container(str(path), str(path), options={})
    with container:
        assert stream.type == "video"
