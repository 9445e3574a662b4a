import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from films import COCO17, FILMS, SIZE, assert_same_poses, film, real_film, write_journal

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.files import GrowingFile
from vitpose.core.poses import Poses
from vitpose.core.skeleton import Skeleton
from vitpose.formats import film_tables
from vitpose.formats.film import convert_film
from vitpose.formats.film_facts import FilmFrame, survey_film


def poses_of_rows(table: pa.Table, like: Poses) -> Poses:
    """Read the rows of one frame back."""
    rows = table.sort_by("person").to_pylist()
    names = like.skeleton.keypoints

    def points(*whats: str) -> list[list[list[float]]]:
        return [[[row[f"{name}_{what}"] for what in whats] for name in names] for row in rows]

    def optional(column: str, *whats: str) -> np.ndarray | None:
        there = column in table.column_names and rows[0][column] is not None
        return np.array(points(*whats), np.float32).reshape(len(rows), len(names), -1).squeeze() if there else None

    raw = optional(f"{names[0]}_raw_x", "raw_x", "raw_y")
    sure = optional(f"{names[0]}_p_correct", "p_correct")
    ids = [row["track_id"] for row in rows]
    return Poses(
        xy=points("x", "y"),
        scores=np.array(points("score"), np.float32)[..., 0],
        boxes=[[row[f"box_{side}"] for side in ("x1", "y1", "x2", "y2")] for row in rows],
        box_scores=[row["box_score"] for row in rows],
        labels=tuple(row["label"] for row in rows),
        track_ids=None if None in ids else np.array(ids),
        raw_xy=None if raw is None else raw.reshape(like.xy.shape),
        p_correct=None if sure is None else sure.reshape(like.scores.shape),
        skeleton=like.skeleton,
        image_size=SIZE,
    )


def assert_table_is_film(table: pa.Table, frames: list[FilmFrame]) -> None:
    assert table.num_rows == sum(len(one.poses) for one in frames)
    numbers = np.array(table["frame"])
    for one in frames:
        part = table.filter(pa.array(numbers == one.frame, pa.bool_()))
        assert part.num_rows == len(one.poses)
        if len(one.poses):
            assert set(part["time_s"].to_pylist()) == {one.time_s}
            assert_same_poses(one.poses, poses_of_rows(part, one.poses))
            np.testing.assert_array_equal(np.array(part["score"], np.float32), one.poses.score)


@pytest.mark.parametrize("kind", FILMS)
def test_both_tables_read_back_bit_for_bit(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_tables, "_ROWS_AT_ONCE", 2)
    frames = FILMS[kind]()
    convert_film(write_journal(tmp_path / "clip.jsonl", frames), tmp_path, "clip", ["csv", "parquet"])
    table = pyarrow.parquet.read_table(tmp_path / "clip.parquet")
    assert_table_is_film(table, frames)
    types = pyarrow.csv.ConvertOptions(column_types={one.name: one.type for one in table.schema})
    text = pyarrow.csv.read_csv(tmp_path / "clip.csv", convert_options=types)
    assert_table_is_film(text, frames)
    assert text.column_names == table.column_names


def test_a_real_video_reads_back(tmp_path: Path, shared: Path) -> None:
    frames = real_film(shared)
    convert_film(write_journal(tmp_path / "clip.jsonl", frames), tmp_path, "clip", ["parquet"])
    assert_table_is_film(pyarrow.parquet.read_table(tmp_path / "clip.parquet"), frames)


def test_the_columns_are_those_of_the_page(tmp_path: Path) -> None:
    convert_film(write_journal(tmp_path / "clip.jsonl", FILMS["smoothed"]()), tmp_path, "clip", ["parquet"])
    names = pyarrow.parquet.read_schema(tmp_path / "clip.parquet").names
    page = (Path(__file__).parents[2] / "docs" / "schema.md").read_text()
    for name in names[:12]:
        assert f"`{name}`" in page, name
    of_each = ("x", "y", "score", "raw_x", "raw_y", "p_correct")
    assert names[12:] == [f"{name}_{what}" for name in COCO17.keypoints for what in of_each]


def test_the_metadata_say_what_rows_cannot(tmp_path: Path) -> None:
    frames = FILMS["mixed"]()
    convert_film(write_journal(tmp_path / "clip.jsonl", frames), tmp_path, "clip", ["parquet"])
    metadata = pyarrow.parquet.read_schema(tmp_path / "clip.parquet").metadata
    assert metadata[b"vitpose.schema"] == b"vitpose.film-table/1"
    about = json.loads(metadata[b"vitpose.film"])
    assert about["frames"] == 7 > len(set(pyarrow.parquet.read_table(tmp_path / "clip.parquet")["frame"].to_pylist()))
    assert (about["first_time_s"], about["last_time_s"]) == (frames[0].time_s, frames[-1].time_s)
    assert about["sizes"] == [[480, 640]]
    assert Skeleton.from_dict(about["skeleton"]) == COCO17
    assert about["threshold"] == frames[0].poses.threshold


def test_a_frame_without_people_leaves_no_row_but_the_title_stays(tmp_path: Path) -> None:
    convert_film(write_journal(tmp_path / "clip.jsonl", FILMS["nobody"]()), tmp_path, "clip", ["csv"])
    (title,) = csv.reader((tmp_path / "clip.csv").read_text(encoding="utf-8").splitlines())
    assert title[:6] == ["source", "frame", "time_s", "person", "track_id", "label"]
    assert len(title) == 12 + 3 * 17


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    odd = Skeleton("odd", ("box", "nose"))
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]], skeleton=odd))
    with pytest.raises(UsageError, match="two columns 'box_score'"):
        convert_film(journal, tmp_path, "clip", ["parquet"])


def test_a_parquet_file_is_closed_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows removes no open file; and what goes wrong on the way must not hide why."""
    journal = write_journal(tmp_path / "clip.jsonl", film([[1]]))
    facts = survey_film(journal)
    for close in (True, False):
        writer = film_tables.FilmParquetWriter(facts, tmp_path / "out" / "clip.parquet")
        arrow = writer._writer
        if not close:
            monkeypatch.setattr(arrow, "close", failing)
        open_then: list[bool] = []

        def note(_: object, seen: list[bool] = open_then, arrow: Any = arrow) -> None:
            seen.append(arrow.is_open)

        monkeypatch.setattr(GrowingFile, "discard", note)
        writer.discard()
        assert open_then == [not close]
        monkeypatch.undo()
        arrow.close()
        writer.discard()
        assert not list((tmp_path / "out").iterdir())


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_parquet_file_that_cannot_be_begun_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = survey_film(write_journal(tmp_path / "clip.jsonl", film([[1]])))
    monkeypatch.setattr(pyarrow.parquet, "ParquetWriter", failing)
    with pytest.raises(VitPoseError, match="No space left"):
        film_tables.FilmParquetWriter(facts, tmp_path / "out" / "clip.parquet")
    assert not list((tmp_path / "out").iterdir())
