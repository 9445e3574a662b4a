"""Pictures on disk are the frames of a film: in order, with times by their numbers, all of one size."""

import logging

import numpy as np
import pytest

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.media.frames import Span
from vitpose.media.images import write_image
from vitpose.media.sequences import ImageSequence
from vitpose.media.sources import Source
from vitpose.media.video import open_frames


def shoot(folder, *names, size=(8, 12)):
    for i, name in enumerate(names):
        write_image(folder / name, np.full((*size, 3), i, np.uint8))
    return folder


def facts(frames):
    return [(frame.index, frame.time_s, int(frame.image[0, 0, 0])) for frame in frames]


def test_a_pattern_takes_what_printf_would_write_in_order_of_the_numbers(tmp_path):
    shoot(tmp_path, "f00002.png", "f00010.png", "f123456.png", "f00003.png", "f3.png", "f00004.jpg", "gf00005.png")
    found = ImageSequence(str(tmp_path / "f%05d.png"), Span(), rate=10)
    assert [value for _, _, value in facts(found.frames())] == [0, 3, 1, 2]
    plain = ImageSequence(str(tmp_path / "f%d.png"), Span(), rate=10)
    assert [value for _, _, value in facts(plain.frames())] == [4, 2]


def test_numbers_that_are_missing_leave_their_time_free_and_are_named(tmp_path, caplog):
    shoot(tmp_path, *(f"shot{number}.png" for number in (7, 8, 10, 14)))
    with caplog.at_level(logging.WARNING):
        film = ImageSequence(str(tmp_path / "shot%d.png"), Span(), rate=2)
    assert facts(film.frames()) == [(0, 0.0, 0), (1, 0.5, 1), (2, 1.5, 2), (3, 3.5, 3)]
    assert "4 of the numbers 7 to 14 are missing (9, 11-13); their time is left free" in caplog.text
    assert film.info.duration_s == 4.0


def test_a_sequence_without_gaps_is_not_talked_about(tmp_path, caplog):
    shoot(tmp_path, "a1.png", "a2.png")
    with caplog.at_level(logging.WARNING):
        ImageSequence(str(tmp_path / "a%d.png"), Span(), rate=2)
    assert not caplog.records


def test_a_folder_is_taken_in_natural_order(tmp_path, caplog):
    shoot(tmp_path, "f10.png", "f2.png", "f1.jpg", ".hidden.png", "f1.overlay.jpg", "sub/z.png")
    (tmp_path / "notes.md").touch()
    with caplog.at_level(logging.WARNING):
        film = open_frames(Source("sequence", str(tmp_path), "shots"), rate=4)
    assert facts(film.frames()) == [(0, 0.0, 2), (1, 0.25, 1), (2, 0.5, 0)]
    assert film.name == "shots"
    assert (film.info.size, film.info.frames, film.info.audio, film.info.live) == (Size(8, 12), 3, False, False)
    assert "passed over 2 files that are not pictures" in caplog.text


def test_spans_and_going_on(tmp_path):
    shoot(tmp_path, *(f"{i:03d}.png" for i in range(20)))
    pattern = str(tmp_path / "%03d.png")
    full = facts(ImageSequence(pattern, Span(), rate=10).frames())
    film = ImageSequence(pattern, Span(0.3, 1.5, 2), rate=10)
    expected = [one for one in full if 0.3 <= one[1] < 1.5 and one[0] % 2 == 0]
    assert facts(film.frames()) == expected
    assert facts(film.frames(expected[2][0])) == expected[3:]
    assert facts(film.frames(19)) == []
    with pytest.raises(InputError, match="no frame from 2 s"):
        list(ImageSequence(pattern, Span(2.0), rate=10).frames())


def test_a_picture_of_another_size_or_damaged_is_named(tmp_path):
    shoot(tmp_path, "1.png", "2.png", "4.png")
    shoot(tmp_path, "3.png", size=(9, 12))
    frames = ImageSequence(str(tmp_path), Span(), rate=1).frames()
    assert [next(frames).index, next(frames).index] == [0, 1]
    with pytest.raises(InputError, match=r"3\.png has 12x9 pixels, but 1\.png, the first .* 12x8"):
        next(frames)
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"3\.png"):
        list(ImageSequence(str(tmp_path), Span(), rate=1).frames())


def test_a_frame_that_is_a_link_to_nothing_is_named_and_not_left_out(tmp_path):
    shoot(tmp_path, "1.png", "3.png")
    (tmp_path / "2.png").symlink_to("nowhere.png")
    for location in (tmp_path, tmp_path / "%d.png"):
        frames = ImageSequence(str(location), Span(), rate=1).frames()
        next(frames)
        with pytest.raises(InputError, match=r"2\.png is a link to nowhere\.png, which does not exist"):
            next(frames)


def test_what_cannot_be_a_sequence(tmp_path):
    shoot(tmp_path, "a1.png")
    (tmp_path / "empty").mkdir()
    for location, error, words in [
        ("b%d.png", InputError, "matches no pictures"),
        ("none/%d.png", InputError, "is not a folder"),
        ("empty", InputError, "holds no pictures"),
        ("%d/%d.png", UsageError, "one number"),
        ("%d%d.png", UsageError, "one number"),
        ("%d/a1.png", UsageError, "one number"),
    ]:
        with pytest.raises(error, match=words):
            ImageSequence(str(tmp_path / location), Span(), rate=1)
    with pytest.raises(UsageError, match="how many there are a second"):
        ImageSequence(str(tmp_path), Span())


def test_the_limit_on_pixels_holds(tmp_path, monkeypatch):
    shoot(tmp_path, "a1.png")
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", "90")
    with pytest.raises(InputError, match="VITPOSE_MAX_PIXELS"):
        ImageSequence(str(tmp_path), Span(), rate=1)
