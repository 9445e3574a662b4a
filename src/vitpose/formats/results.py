"""Results of pictures: one JSON a picture, and COCO results, CSV and Parquet for all of them together.

Every file is written beside its place and renamed when it is whole. A run that breaks off, for whatever reason, keeps
what it finished: files about everything hold what was done until then. ``docs/schema.md`` describes the fields;
``formats/film.py`` writes films.
"""

import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vitpose.core.coco import category_id
from vitpose.core.extras import require
from vitpose.core.files import GrowingFile, atomic_write_text
from vitpose.core.poses import Poses

if TYPE_CHECKING:
    import pyarrow as pa

COCO_RESULTS, COCO_CATEGORIES, TABLE = "coco_results", "coco_categories", "poses"
"""Names of the files about everything; pictures of these names are written under longer ones."""

_ROWS_AT_ONCE = 4096
"""A group of rows of a Parquet file costs kilobytes of its own, so there is not one a picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which picture or frame a result is about.

    Attributes:
        name: output name: a relative path without suffix, unique in the run.
        source: path or URL as it was given.
        image_id: COCO image id of a picture.
        frame: number of the frame in a video, from 0; None for a picture.
        time_s: presentation time of the frame in seconds; None for a picture.
    """

    name: str
    source: str
    image_id: int | str
    frame: int | None = None
    time_s: float | None = None


def number_images(names: Sequence[str]) -> list[int | str]:
    """Return COCO image ids: the numbers the last parts of the names consist of (``a/000139`` is 139).

    Where a name is no number, or two would get the same, all are called by their names: ids of two kinds in one file
    would not sort.
    """
    last = [name.rpartition("/")[2] for name in names]
    numbers = [int(part) for part in last if part.isdecimal() and part.isascii()]
    return list(names) if len(set(numbers)) != len(names) else list(numbers)


def to_document(origin: Origin, poses: Poses) -> dict[str, Any]:
    """Return the JSON document of one picture or frame: ``Poses.to_dict`` and where it comes from."""
    document = poses.to_dict()
    document["image"]["source"] = origin.source
    if origin.frame is not None:
        document["image"] |= {"frame": origin.frame, "time_s": origin.time_s}
    return document


class ResultWriter(Protocol):
    """Takes results one by one."""

    def add(self, origin: Origin, poses: Poses) -> None:
        """Write the poses of one picture."""

    def close(self) -> None:
        """Finish all files."""


class JsonWriter:
    """One ``NAME.json`` a picture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, origin: Origin, poses: Poses) -> None:
        """Write one document."""
        atomic_write_text(self._folder / f"{origin.name}.json", _text(to_document(origin, poses)))

    def close(self) -> None:
        """Nothing to do: every file is whole."""


def categories_text(categories: Mapping[str, int]) -> str:
    """Return the file that says which category a number stands for, from numbers by name."""
    table = [{"id": number, "name": label} for label, number in categories.items()]
    return json.dumps(table, indent=1) + "\n"


class CocoWriter:
    """All results in one ``coco_results.json``, as pycocotools and faster-coco-eval load them.

    The categories of the labels that occurred stand in ``coco_categories.json`` unless all are people.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = GrowingFile(folder / f"{COCO_RESULTS}.json")
        self._separator = "[\n"
        self._added = False
        self._categories: dict[str, int] = {}

    def add(self, origin: Origin, poses: Poses) -> None:
        """Append one entry a person."""
        self._added = True
        for label in poses.labels:
            self._categories.setdefault(label, category_id(label, len(self._categories)))
        for entry in poses.to_coco_results(origin.image_id, category_id=self._categories):
            self._file.write(self._separator + json.dumps(entry, allow_nan=False))
            self._separator = ",\n"

    def close(self) -> None:
        """Close the list; a run without any picture leaves none."""
        if not self._added:
            self._file.discard()
            return
        self._file.write("[]\n" if self._separator == "[\n" else "\n]\n")
        self._file.keep()
        named = self._folder / f"{COCO_CATEGORIES}.json"
        if set(self._categories) - {"person"}:
            atomic_write_text(named, categories_text(self._categories))
        else:  # one that is there is of an earlier run, whose results these replace
            named.unlink(missing_ok=True)


class CsvWriter:
    """All results in one long table, ``poses.csv``: one row a picture, person and keypoint."""

    def __init__(self, folder: Path) -> None:
        self._file = GrowingFile(folder / f"{TABLE}.csv")
        self._titled = False

    def add(self, origin: Origin, poses: Poses) -> None:
        """Append one row a person and keypoint; a picture without people adds none."""
        csv = require("pyarrow.csv", "all", "writing CSV")
        buffer = io.BytesIO()
        csv.write_csv(_with_origin(origin, poses), buffer, csv.WriteOptions(include_header=not self._titled))
        self._file.write(buffer.getvalue().decode())
        self._titled = True

    def close(self) -> None:
        """Give the file its name; a run without any picture leaves none."""
        if self._titled:
            self._file.keep()
        else:
            self._file.discard()


class ParquetWriter:
    """All results in one long table, ``poses.parquet``: one row a picture, person and keypoint."""

    def __init__(self, folder: Path) -> None:
        self._file = GrowingFile(folder / f"{TABLE}.parquet")
        self._writer: Any = None
        self._waiting: list[pa.Table] = []

    def add(self, origin: Origin, poses: Poses) -> None:
        """Append one row a person and keypoint; a picture without people adds none."""
        self._open(table := _with_origin(origin, poses))
        self._waiting.append(table)
        if sum(one.num_rows for one in self._waiting) >= _ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        """Write what waits as one group of rows."""
        arrow = require("pyarrow", "all", "writing tables")
        table, self._waiting = arrow.concat_tables(self._waiting).combine_chunks(), []
        self._file.guard(self._writer.write_table, table)

    def _open(self, table: "pa.Table") -> None:
        if self._writer is None:
            parquet = require("pyarrow.parquet", "all", "writing Parquet")
            self._writer = self._file.guard(parquet.ParquetWriter, str(self._file.temporary), table.schema)

    def close(self) -> None:
        """Write the table's index and give the file its name; a run without any picture leaves none."""
        if self._writer is None:
            self._file.discard()
            return
        if self._waiting:
            self._write()
        self._file.guard(self._writer.close)
        self._file.keep()


def _with_origin(origin: Origin, poses: Poses) -> "pa.Table":
    arrow = require("pyarrow", "all", "writing tables")
    table = poses.to_table()
    rows = table.num_rows
    columns: list[tuple[str, Any]] = [
        ("source", arrow.array([origin.source] * rows, arrow.string())),
        ("frame", arrow.array([origin.frame] * rows, arrow.int64())),
        ("time_s", arrow.array([origin.time_s] * rows, arrow.float64())),
    ]
    for position, (name, column) in enumerate(columns):
        table = table.add_column(position, name, column)
    return table


def _text(document: dict[str, Any]) -> str:
    """One line a field and one line a person: small, and still good to read and to compare."""
    fields = dict(document)
    people = ",\n  ".join(json.dumps(person, ensure_ascii=False, allow_nan=False) for person in fields.pop("people"))
    lines = [f' "{key}": {json.dumps(value, ensure_ascii=False, allow_nan=False)}' for key, value in fields.items()]
    lines.append(f' "people": [\n  {people}\n ]' if people else ' "people": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


WRITERS: Mapping[str, Callable[[Path], ResultWriter]] = {
    "json": JsonWriter,
    "coco": CocoWriter,
    "csv": CsvWriter,
    "parquet": ParquetWriter,
}
"""What writes each format of pictures into a folder."""


def open_writers(formats: Collection[str], folder: Path) -> list[ResultWriter]:
    """Open a writer for each of ``WRITERS`` in ``formats``."""
    return [kind(folder) for name, kind in WRITERS.items() if name in formats]
