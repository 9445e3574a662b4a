"""``vitpose tracks``: a list for people, JSON for programs, edits beside the file or in it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vitpose.cli.main import app, main
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton

ROWS = [[1, 2], [1, 2], [2], [2, 3], [3, 2]]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    lines = []
    for number, row in enumerate(ROWS):
        poses = Poses(
            xy=np.zeros((len(row), 17, 2)),
            scores=np.full((len(row), 17), 0.5),
            boxes=np.tile([0.0, 0.0, 9.0, 9.0], (len(row), 1)),
            box_scores=np.ones(len(row)),
            track_ids=np.array(row),
            skeleton=load_skeleton("coco17"),
            image_size=Size(48, 64),
        )
        document = poses.to_dict()
        document["image"] |= {"source": "clip.mp4", "frame": 2 * number, "time_s": number / 5}
        lines.append(json.dumps(document) + "\n")
    path = tmp_path / "clip.jsonl"
    path.write_text("".join(lines))
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["tracks", *map(str, arguments)], catch_exceptions=False)


def ids(path: Path) -> list[list[int]]:
    return [[person["track_id"] for person in json.loads(line)["people"]] for line in path.read_text().splitlines()]


def test_the_list(clip: Path) -> None:
    for words in ((clip,), ("list", clip)):
        result = run(*words)
        rows = [line.split() for line in result.stdout.splitlines()]
        assert rows[1] == ["1", "2", "0", "2", "0.00", "0.20", "0.500"]
        assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
        assert "3 ids in 5 frames" in result.stderr
    found = json.loads(run(clip, "--json").stdout)
    assert (found["frames"], found["unclaimed"]) == (5, 0)
    assert [one["track_id"] for one in found["tracks"]] == [1, 2, 3]


def test_a_film_without_ids_says_so(clip: Path) -> None:
    clip.write_text(clip.read_text().replace('"track_id": ', '"track_id": -'))
    assert "nobody has an id" in run(clip).stderr


def test_edits_go_beside_the_file(clip: Path) -> None:
    before, edited = clip.read_bytes(), clip.with_name("clip.edited.jsonl")
    result = run("merge", clip, 1, 3)
    assert "2 poses have another id" in result.stderr
    assert ids(edited) == [[1, 2], [1, 2], [2], [2, 1], [1, 2]]
    assert clip.read_bytes() == before
    with pytest.raises(UsageError, match=r"clip\.edited\.jsonl exists: edit that one with --in-place"):
        run("merge", clip, 1, 3)
    with pytest.raises(UsageError, match="exists"):
        run("split", edited, 2, "--at", 6)
    assert run("split", edited, 2, "--at", 6, "--in-place").exit_code == 0
    assert ids(edited) == [[1, 2], [1, 2], [2], [3, 1], [1, 3]]
    assert ids(edited.with_name("clip.edited.jsonl.bak")) == [[1, 2], [1, 2], [2], [2, 1], [1, 2]]


def test_the_journal_of_another_film_is_not_replaced(clip: Path) -> None:
    other = clip.with_name("other.jsonl")
    other.write_bytes(clip.read_bytes())
    before = clip.read_bytes()
    for words in (("merge", clip, 1, 3), ("split", clip, 2, "--at", 6), ("swap", clip, 1, 3)):
        with pytest.raises(UsageError, match=r"other\.jsonl exists: edit that one with --in-place, or give another"):
            run(*words, "--out", other)
    assert clip.read_bytes() == other.read_bytes() == before


def test_in_place_keeps_a_copy(clip: Path) -> None:
    before = clip.read_bytes()
    result = run("swap", clip, 2, 3, "--from", "0.6s", "--to", "8", "--in-place", "--json")
    assert json.loads(result.stdout) == {
        "file": str(clip),
        "changed": 2,
        "new_id": None,
        "backup": f"{clip}.bak",
    }
    assert ids(clip) == [[1, 2], [1, 2], [2], [3, 2], [3, 2]]
    assert Path(f"{clip}.bak").read_bytes() == before


@pytest.mark.parametrize("at", ["5", "6", "0.41s", "0.6s"])
def test_a_place_is_a_frame_or_a_time(clip: Path, tmp_path: Path, at: str) -> None:
    out = tmp_path / "sub" / "out.jsonl"
    result = run("split", clip, 2, "--at", at, "--new-id", 70, "--out", out, "--json")
    assert json.loads(result.stdout)["new_id"] == 70
    assert ids(out) == [[1, 2], [1, 2], [2], [70, 3], [3, 70]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["merge", "FILE", "1", "2"], "both in frame 0, so they are two people"),
        (["merge", "FILE", "1", "9"], "no person has id 9"),
        (["split", "FILE", "2", "--at", "soon"], "--at 'soon' is no place in a film"),
        (["split", "FILE", "2", "--at", "infs"], "--at 'infs' is no place in a film"),
        (["split", "FILE", "2", "--at", "9s"], "ends at 0.8 s, before 9 s"),
        (["split", "FILE", "1", "--at", "4"], "does not appear from frame 4 on"),
        (["swap", "FILE", "1", "3", "--from", "4", "--to", "6"], "neither id 1 nor 3"),
        (["merge", "FILE", "1", "3", "--in-place", "--out", "x"], "leave out --out"),
        (["merge", "FILE", "1", "3", "--out", "clip.mp4"], "a name that ends in .jsonl"),
        (["merge", "FILE", "1", "3", "--out", "FILE"], "say so with --in-place"),
    ],
)
def test_what_is_refused_changes_nothing(clip: Path, words: list[str], message: str) -> None:
    before = clip.read_bytes()
    with pytest.raises(UsageError) as refused:
        run(*[str(clip) if word == "FILE" else word for word in words])
    assert message in str(refused.value)
    assert clip.read_bytes() == before
    assert [path.name for path in clip.parent.iterdir()] == ["clip.jsonl"]


def test_exit_codes(clip: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for words, code in (([clip.with_name("none.jsonl")], 3), (["merge", clip, "1", "9"], 2)):
        monkeypatch.setattr(sys, "argv", ["vitpose", "tracks", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == code
        assert capsys.readouterr().err.startswith("error: ")
