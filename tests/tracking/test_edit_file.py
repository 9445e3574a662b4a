"""Edits of a file do what the same edits of frames in memory do, and leave every other byte alone."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people_in_motion import people

from vitpose.core.errors import InputError, UsageError
from vitpose.core.journal import journal_poses
from vitpose.core.poses import Poses
from vitpose.tracking.edit import merge_ids, merge_rule, split_id, split_rule, swap_ids, swap_rule
from vitpose.tracking.edit_file import (
    Moment,
    find_frame,
    keep_backup,
    list_tracks,
    numbered_ids,
    rewrite_ids,
)

ROWS = [[1, 2], [1, 2], [2, -1], [], [2, 3], [3, 2]]


def document(row: list[int] | None, number: int) -> str:
    there = row or []
    plain = people(list(range(len(there))), [(70.0 * i, 0.0) for i in range(len(there))]).to_dict()
    # Names that look like an id, in strings: they are no ids.
    plain["image"] |= {"source": 'a "track_id": 2, \\ "track_id": 3}.mp4', "frame": number, "time_s": number / 10}
    for person, one in zip(plain["people"], there, strict=True):
        person["track_id"] = None if one == -7 else one
        person["label"] = '"track_id": 2,'
    return json.dumps(plain)


def write(path: Path, rows: list[list[int]], stride: int = 1) -> Path:
    path.write_text("".join(document(row, stride * i) + "\n" for i, row in enumerate(rows)))
    return path


def read(path: Path) -> list[Poses]:
    return [poses for _, poses in journal_poses(path)]


def ids(frames: list[Poses]) -> list[list[int]]:
    return [[] if poses.track_ids is None else poses.track_ids.tolist() for poses in frames]


def without_ids(path: Path) -> bytes:
    return re.sub(rb'"track_id": (-?\d+|null), "keypoints"', b"", path.read_bytes())


def test_merge_split_and_swap_are_those_of_frames_in_memory(tmp_path: Path) -> None:
    path, out = write(tmp_path / "a.jsonl", ROWS), tmp_path / "b.jsonl"
    frames = read(path)
    rules = [
        (merge_rule(numbered_ids(path), 1, [3]), merge_ids(frames, 1, [3])),
        (split_rule(numbered_ids(path), 2, 4)[0], split_id(frames, 2, 4)[0]),
        (swap_rule(numbered_ids(path), 2, 3, 4, 5), swap_ids(frames, 2, 3, 4, 5)),
        (swap_rule(numbered_ids(path), 1, 2, 0), swap_ids(frames, 1, 2)),
    ]
    for rule, wanted in rules:
        changed = rewrite_ids(path, out, rule)
        assert ids(read(out)) == ids(wanted)
        before, after = ids(frames), ids(wanted)
        assert changed == sum(a != b for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)) > 0
        assert without_ids(out) == without_ids(path)


@settings(deadline=None)
@given(rows=st.lists(st.lists(st.sampled_from([0, 1, 2, 30]), unique=True, max_size=3), min_size=1, max_size=6))
def test_any_renaming_changes_the_ids_and_nothing_else(tmp_path_factory, rows: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("edit")
    path = write(folder / "a.jsonl", rows)
    rewrite_ids(path, folder / "b.jsonl", lambda found, number: found * 100 + number)
    assert ids(read(folder / "b.jsonl")) == [[100 * one + i for one in row] for i, row in enumerate(rows)]
    assert without_ids(folder / "b.jsonl") == without_ids(path)


def test_lines_that_do_not_change_stay_byte_for_byte(tmp_path: Path) -> None:
    """Spaces, line ends, empty lines, numbers as somebody wrote them, and half a line at the end."""
    lines = [document(row, i) for i, row in enumerate(ROWS)]
    odd = json.dumps(json.loads(lines[1]), indent=None, separators=(" , ", " : ")).replace("0.9", "9.0e-1")
    text = f"{lines[0]}\r\n\n{odd}\n" + "\n".join(lines[2:]) + "\n" + document([1], 99)[:70]
    path = tmp_path / "a.partial.jsonl"
    path.write_bytes(text.encode())
    rewrite_ids(path, tmp_path / "b.jsonl", lambda found, _: np.where(found == 1, 8, found))
    wanted = text.replace('"track_id": 1,', '"track_id": 8,').replace('"track_id" : 1 ,', '"track_id" : 8 ,')
    assert (tmp_path / "b.jsonl").read_bytes() == wanted.encode()
    rewrite_ids(path, tmp_path / "b.jsonl", lambda found, _: found)
    assert (tmp_path / "b.jsonl").read_bytes() == text.encode()


def test_a_file_can_be_changed_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS)
    before = path.read_bytes()
    assert [keep_backup(path).name for _ in range(3)] == ["a.jsonl.bak", "a.jsonl.bak2", "a.jsonl.bak3"]
    rewrite_ids(path, path, merge_rule(numbered_ids(path), 1, [3]))
    assert (tmp_path / "a.jsonl.bak").read_bytes() == before
    assert ids(read(path))[-1] == [1, 2]


def test_people_without_an_id_keep_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [[-7, -7], [-1, 4]])
    changed = rewrite_ids(path, tmp_path / "b.jsonl", lambda found, _: np.where(found == 4, 5, found))
    assert changed == 1
    text = (tmp_path / "b.jsonl").read_text()
    assert text.count('"track_id": null') == 2
    assert '"track_id": -1,' in text
    assert list_tracks(path).unclaimed == 3


def test_frames_are_called_by_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS, stride=5)
    rule, chosen = split_rule(numbered_ids(path), 2, 6)
    rewrite_ids(path, tmp_path / "b.jsonl", rule)
    assert chosen == 4
    assert ids(read(tmp_path / "b.jsonl")) == [[1, 2], [1, 2], [4, -1], [], [4, 3], [3, 4]]
    assert [find_frame(path, Moment(time_s=t)) for t in (0.0, 0.6, 1.0, 2.5)] == [0, 10, 10, 25]
    assert find_frame(path, Moment(frame=6)) == 6
    with pytest.raises(UsageError, match=r"a\.jsonl ends at 2\.5 s, before 2\.6 s"):
        find_frame(path, Moment(time_s=2.6))


def test_the_list_of_tracks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROWS, stride=5)
    found = list_tracks(path)
    assert (found.frames, found.unclaimed) == (6, 1)
    assert [(one.track_id, one.frames, one.first_frame, one.last_frame) for one in found.tracks] == [
        (1, 2, 0, 5),
        (2, 5, 0, 25),
        (3, 2, 20, 25),
    ]
    assert (found.tracks[2].first_s, found.tracks[2].last_s) == (2.0, 2.5)
    assert found.tracks[1].mean_score == pytest.approx(0.81)
    (tmp_path / "none.jsonl").write_text("")
    assert list_tracks(tmp_path / "none.jsonl").tracks == ()


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [[1], [2]])
    twice = path.read_text().replace('"track_id": 1, "key', '"track_id": 1, "track_id": 1, "key')
    path.write_text(twice)
    with pytest.raises(InputError, match="line 1: has 2 ids for 1 people"):
        rewrite_ids(path, tmp_path / "b.jsonl", lambda found, _: found + 1)
    assert not (tmp_path / "b.jsonl").exists()
    path.write_text(twice.replace("track_id", "who"))
    for reading in (list_tracks, lambda file: list(numbered_ids(file))):
        with pytest.raises(InputError, match="line 1: not a document of poses"):
            reading(path)
