"""A film as one table with one row a person and frame: ``NAME.csv`` and ``NAME.parquet``.

Pictures of a run go to long tables, one row a keypoint. A film has one skeleton, and what is done with it is done over
time: every keypoint gets columns of its own here, so that a column is a curve.
"""

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.extras import require
from vitpose.core.files import GrowingFile
from vitpose.formats.film_facts import FilmFacts, FilmFrame

if TYPE_CHECKING:
    import pyarrow as pa

FILM_TABLE = "vitpose.film-table/1"
"""Name and version of the columns; it stands in the Parquet file's metadata as ``vitpose.schema``."""

_ROWS_AT_ONCE = 4096


class FilmCsvWriter:
    """``NAME.csv``; numbers are the shortest that read back to the same float32."""

    def __init__(self, facts: FilmFacts, path: Path) -> None:
        """Start the file.

        Raises:
            UsageError: two columns would have one name.
        """
        self._rows = _Rows(facts)
        self._file = GrowingFile(path)
        self._write(self._rows.take())

    def add(self, frame: FilmFrame) -> None:
        """Append one row a person; a frame without people adds none."""
        if self._rows.add(frame):
            self._write(self._rows.take(), titled=True)

    def _write(self, table: "pa.Table", *, titled: bool = False) -> None:
        csv = require("pyarrow.csv", "all", "writing CSV")
        buffer = io.BytesIO()
        csv.write_csv(table, buffer, csv.WriteOptions(include_header=not titled))
        self._file.write(buffer.getvalue().decode())

    def finish(self) -> list[Path]:
        """Write the last rows and give the file its name."""
        self._write(self._rows.take(), titled=True)
        self._file.keep()
        return [self._file.path]

    def discard(self) -> None:
        """Remove what is not finished."""
        self._file.discard()


class FilmParquetWriter:
    """``NAME.parquet``; the metadata say what the rows cannot: how many frames there were, and the skeleton."""

    def __init__(self, facts: FilmFacts, path: Path) -> None:
        """Start the file.

        Raises:
            UsageError: two columns would have one name.
        """
        self._rows = _Rows(facts)
        parquet = require("pyarrow.parquet", "all", "writing Parquet")
        schema = self._rows.schema.with_metadata(_metadata(facts))
        self._file = GrowingFile(path)
        try:
            self._writer: Any = self._file.guard(parquet.ParquetWriter, str(self._file.temporary), schema)
        except BaseException:
            self._file.discard()
            raise

    def add(self, frame: FilmFrame) -> None:
        """Append one row a person; a frame without people adds none."""
        if self._rows.add(frame):
            self._file.guard(self._writer.write_table, self._rows.take())

    def finish(self) -> list[Path]:
        """Write the last rows and the table's index, and give the file its name."""
        self._file.guard(self._writer.write_table, self._rows.take())
        self._file.guard(self._writer.close)
        self._file.keep()
        return [self._file.path]

    def discard(self) -> None:
        """Remove what is not finished."""
        # First, because Windows removes no file that is open. It would end the table, and may fail at that as at the
        # rows before, which is known already.
        with contextlib.suppress(Exception):
            self._writer.close()
        self._file.discard()


class _Rows:
    """Collects frames until there are rows enough for a table."""

    def __init__(self, facts: FilmFacts) -> None:
        self._arrow = require("pyarrow", "all", "writing tables")
        self._facts = facts
        self._frames: list[FilmFrame] = []
        self._count = 0
        self.schema: pa.Schema = _schema(facts, self._arrow)

    def add(self, frame: FilmFrame) -> bool:
        """Take a frame; return whether the rows should be taken away now."""
        if len(frame.poses):
            self._frames.append(frame)
            self._count += len(frame.poses)
        return self._count >= _ROWS_AT_ONCE

    def take(self) -> "pa.Table":
        """Return the rows as a table and forget them."""
        columns = {**self._of_people(), **self._of_keypoints()}
        arrays = [self._arrow.array(columns[one.name], one.type, from_pandas=True) for one in self.schema]
        self._frames, self._count = [], 0
        table: pa.Table = self._arrow.Table.from_arrays(arrays, schema=self.schema)
        return table

    def _of_people(self) -> dict[str, Any]:
        poses = [frame.poses for frame in self._frames]
        ids = [[None] * len(one) if one.track_ids is None else one.track_ids.tolist() for one in poses]
        boxes = _joined([one.boxes for one in poses], (4,))
        return {
            "source": [self._facts.source] * self._count,
            "frame": [frame.frame for frame in self._frames for _ in range(len(frame.poses))],
            "time_s": [frame.time_s for frame in self._frames for _ in range(len(frame.poses))],
            "person": [person for one in poses for person in range(len(one))],
            "track_id": [one for row in ids for one in row],
            "label": [label for one in poses for label in one.labels],
            "score": _joined([one.score for one in poses], ()),
            "box_score": _joined([one.box_scores for one in poses], ()),
            **{name: boxes[:, side] for side, name in enumerate(("box_x1", "box_y1", "box_x2", "box_y2"))},
        }

    def _of_keypoints(self) -> dict[str, NDArray[np.float32]]:
        """Where a frame lacks what others have, the cells are empty."""
        names, poses = self._facts.keypoints, [frame.poses for frame in self._frames]
        shape = (len(names),)
        points = {
            "x": _joined([one.xy[..., 0] for one in poses], shape),
            "y": _joined([one.xy[..., 1] for one in poses], shape),
            "score": _joined([one.scores for one in poses], shape),
        }
        if self._facts.with_raw_xy:
            raw = [np.full_like(one.xy, np.nan) if one.raw_xy is None else one.raw_xy for one in poses]
            points |= {f"raw_{axis}": _joined([one[..., i] for one in raw], shape) for i, axis in enumerate("xy")}
        if self._facts.with_p_correct:
            sure = [np.full_like(one.scores, np.nan) if one.p_correct is None else one.p_correct for one in poses]
            points["p_correct"] = _joined(sure, shape)
        return {f"{name}_{what}": values[:, k] for what, values in points.items() for k, name in enumerate(names)}


def _joined(parts: list[NDArray[np.float32]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, *shape), np.float32), *parts])


def _schema(facts: FilmFacts, arrow: Any) -> "pa.Schema":
    columns = [
        ("source", arrow.string()),
        ("frame", arrow.int64()),
        ("time_s", arrow.float64()),
        ("person", arrow.int32()),
        ("track_id", arrow.int64()),
        ("label", arrow.string()),
        *((name, arrow.float32()) for name in ("score", "box_score", "box_x1", "box_y1", "box_x2", "box_y2")),
    ]
    measured = ["x", "y", "score", *(["raw_x", "raw_y"] * facts.with_raw_xy), *(["p_correct"] * facts.with_p_correct)]
    columns += [(f"{name}_{what}", arrow.float32()) for name in facts.keypoints for what in measured]
    twice = [name for name, count in Counter(name for name, _ in columns).items() if count > 1]
    if twice:
        raise UsageError(
            f"names of keypoints give two columns {twice[0]!r}: choose another format than csv and parquet"
        )
    schema: pa.Schema = arrow.schema(columns)
    return schema


def _metadata(facts: FilmFacts) -> dict[str, str]:
    film = {
        "source": facts.source,
        "frames": facts.frames,
        "first_time_s": facts.first_s,
        "last_time_s": facts.last_s,
        "sizes": [[size.height, size.width] for size in facts.sizes],
        **{key: facts.first[key] for key in ("skeleton", "threshold", "model") if key in facts.first},
    }
    return {"vitpose.schema": FILM_TABLE, "vitpose.film": json.dumps(film, ensure_ascii=False)}
