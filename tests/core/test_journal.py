import json
import logging
from pathlib import Path

import pytest

from vitpose.core.errors import InputError
from vitpose.core.journal import journal_frames, journal_lines, journal_poses


def line(at: int, **image: object) -> str:
    return json.dumps({"image": {"frame": at, "time_s": at / 10, **image}, "people": []}) + "\n"


def test_every_byte_of_the_file_is_in_some_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = (line(0) + "\n" + line(3).replace("\n", "\r\n") + line(4)[:20]).encode()
    path.write_bytes(whole)
    lines = list(journal_lines(path))
    assert b"".join(one.raw for one in lines) == whole
    assert [one.torn for one in lines] == [False, False, False, True]
    assert [(one.frame, one.time_s) for one in lines if one.plain] == [(0, 0.0), (3, 0.3)]


@pytest.mark.parametrize("cut", [1, 30, -2])
def test_half_a_line_at_the_end_is_said_and_left_out(tmp_path: Path, cut: int, caplog) -> None:
    path = tmp_path / "a.partial.jsonl"
    path.write_bytes((line(0) + line(1)).encode() + line(2, source="Straße").encode()[:cut])
    with caplog.at_level(logging.WARNING):
        assert [one.frame for one in journal_frames(path)] == [0, 1]
    assert "a.partial.jsonl, line 3: half a line" in caplog.text


def test_half_a_letter_is_half_a_line_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = json.dumps({"image": {"source": "ß"}}, ensure_ascii=False).encode()
    path.write_bytes(line(0).encode() + text[: text.index("ß".encode()) + 1])
    assert [one.frame for one in journal_frames(path)] == [0]


def test_a_last_line_without_line_end_counts_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text((line(0) + line(1)).rstrip())
    assert [one.frame for one in journal_frames(path)] == [0, 1]


def test_an_empty_file_has_no_frames(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert list(journal_frames(tmp_path / "a.jsonl")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(0) + line(1)[:20] + "\n" + line(2), "line 2: not JSON"),
        (line(0) + line(1)[:20] + "\n", "line 2: not JSON"),
        (line(0) + line(1, time_s=float("nan")), "line 2: not JSON .*NaN"),
        (line(2) + line(2), "line 2: frame 2 after frame 2"),
        ("[]\n", r"line 1: no image\.time_s"),
        (line(0, time_s=True), r"line 1: no image\.time_s"),
        (line(0, frame=1.5), r"line 1: no image\.frame"),
        (line(0, frame=-1), r"line 1: no image\.frame"),
        ('{"image": {"frame": 0, "time_s": 0}}\n', "line 1: no list of people"),
        (line(0) + "\xff\n", "line 2: not JSON"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message):
        list(journal_frames(path))


def test_a_document_of_another_kind_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line(0))
    with pytest.raises(InputError, match="line 1: schema is None"):
        list(journal_poses(tmp_path / "a.jsonl"))
    with pytest.raises(InputError, match="cannot read"):
        list(journal_lines(tmp_path / "none.jsonl"))
