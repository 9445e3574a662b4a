"""What holds for every format: the same bytes again, whole files or none, and nothing grows with the film."""

import logging
import tracemalloc
from pathlib import Path

import pytest
from films import COCO17, FILMS, assert_same_poses, film, real_film, write_journal

from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.core.skeleton import load_skeleton
from vitpose.formats import film as film_module
from vitpose.formats import film_tables, skeleton_sequences
from vitpose.formats.film import FILM_FORMATS, FilmOptions, convert_film, read_frames_of
from vitpose.formats.film_facts import survey_film


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", FILMS)
def test_a_journal_reads_back_bit_for_bit(tmp_path: Path, kind: str) -> None:
    frames = FILMS[kind]()
    read = list(read_frames_of(write_journal(tmp_path / "clip.jsonl", frames)))
    assert [(one.frame, one.time_s) for one in read] == [(one.frame, one.time_s) for one in frames]
    for one, other in zip(read, frames, strict=True):
        assert_same_poses(other.poses, one.poses)
        assert one.poses.skeleton == other.poses.skeleton
        assert one.poses.image_size == other.poses.image_size


def test_a_real_journal_reads_back(tmp_path: Path, shared: Path) -> None:
    frames = real_film(shared)
    for (_, _, one), other in zip(read_frames_of(write_journal(tmp_path / "a.jsonl", frames)), frames, strict=True):
        assert_same_poses(other.poses, one)


@pytest.mark.parametrize("kind", FILMS)
def test_the_same_journal_gives_the_same_bytes_and_nothing_else(tmp_path: Path, kind: str) -> None:
    journal = write_journal(tmp_path / "clip.jsonl", FILMS[kind]())
    for run in ("a", "b"):
        paths = convert_film(journal, tmp_path / run, "deep/clip", FILM_FORMATS)
        assert all(path.exists() for path in paths)
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first == second
    whole = {"deep/clip.csv", "deep/clip.parquet", "deep/clip.coco.json", "deep/clip.npz", "deep/clip.openpose.json"}
    assert {name for name in first if not name.startswith("deep/clip/")} == whole
    again = convert_film(journal, tmp_path / "a", "deep/clip", FILM_FORMATS)  # over what is there
    assert contents(tmp_path / "a") == first
    assert again == [tmp_path / "a" / path.relative_to(tmp_path / "b") for path in paths]


def test_a_broken_off_run_gives_what_is_whole(tmp_path: Path, caplog) -> None:
    journal = write_journal(tmp_path / "clip.partial.jsonl", film([[1], [1, 2], [2]]))
    journal.write_bytes(journal.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        convert_film(journal, tmp_path, "clip.partial", ["csv"])
    assert caplog.text.count("half a line") == 1
    assert len((tmp_path / "clip.partial.csv").read_text().splitlines()) == 1 + 3


def test_a_failure_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]] * 3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip.csv").write_text("of an earlier run")

    def failing(self: object, frame: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film_module.SkeletonWriter, "add", failing)
    with pytest.raises(OSError, match="No space"):
        convert_film(journal, tmp_path / "out", "clip", FILM_FORMATS)
    assert contents(tmp_path / "out") == {"clip.csv": b"of an earlier run"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.csv"]


@pytest.mark.parametrize("one", FILM_FORMATS)
def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, one: str) -> None:
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]]))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VitPoseError, match="cannot write"):
        convert_film(journal, tmp_path / "file", "clip", [one])


def test_a_file_a_frame_leaves_the_files_of_others_alone(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "notes.txt").write_text("mine")
    (tmp_path / "clip" / "clip_000000000099_keypoints.json").write_text("of an earlier run")
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]] * 2))
    convert_film(journal, tmp_path, "clip", ["openpose"])
    names = sorted(path.name for path in (tmp_path / "clip").iterdir())
    assert names == [*(f"clip_{i:012d}_keypoints.json" for i in range(2)), "notes.txt"]


def test_what_cannot_be_done_says_why(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]]))
    with pytest.raises(UsageError, match="unknown format of a video 'parket'; did you mean 'parquet'"):
        convert_film(journal, tmp_path, "clip", ["parket"])
    with pytest.raises(UsageError, match="keep at least 1 person"):
        FilmOptions(skeleton_people=0)
    other = write_journal(tmp_path / "other.jsonl", film([[1]], skeleton=load_skeleton("mpii16")))
    both = journal.read_text() + other.read_text().replace('"frame": 0', '"frame": 1')
    other.write_text(both)
    with pytest.raises(InputError, match="line 2: another skeleton"):
        convert_film(other, tmp_path, "clip", ["csv"])
    other.write_text(journal.read_text().replace('"label"', '"lable"'))
    with pytest.raises(InputError, match=r"line 1: not a document of poses: KeyError\('label'\)"):
        convert_film(other, tmp_path, "clip", ["csv"])
    assert convert_film(journal, tmp_path, "clip", []) == []


def test_the_facts_of_a_film(tmp_path: Path) -> None:
    facts = survey_film(write_journal(tmp_path / "clip.jsonl", FILMS["mixed"]()))
    assert (facts.frames, facts.first_s, facts.last_s) == (7, 0.28, 0.28 + 6 * 0.1201)
    assert (facts.source, facts.labels, facts.most_people) == ("clips/Straße, 1.mp4", ("person", "dog"), 3)
    assert (facts.with_p_correct, facts.with_raw_xy) == (True, True)
    assert (set(facts.totals), facts.unclaimed, facts.skeleton) == ({2, 4}, 2, COCO17)


def test_memory_does_not_grow_with_the_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the frames, the same peak; what is gathered before it is written is made small for a short test."""
    monkeypatch.setattr(film_tables, "_ROWS_AT_ONCE", 32)
    monkeypatch.setattr(skeleton_sequences, "_FRAMES_AT_ONCE", 16)
    lines = write_journal(tmp_path / "some.jsonl", film([[1, 2]] * 50)).read_text().splitlines()
    journal, peaks = tmp_path / "long.jsonl", []
    for frames in (50, 100, 400):  # the first for what is made once
        numbered = (lines[i % 50].replace(f'"frame": {i % 50},', f'"frame": {i},') for i in range(frames))
        journal.write_text("\n".join(numbered) + "\n")
        tracemalloc.start()
        convert_film(journal, tmp_path, "clip", ["csv", "coco-video", "skeletons"])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Kept poses would be some 3,000 bytes a frame, kept documents 20,000; buffers of copying are not full yet.
    assert peaks[2] - peaks[1] < 300 * 1000
