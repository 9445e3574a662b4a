"""Result files: one JSON a picture, JSON Lines a video, and COCO results, CSV and Parquet for everything together.

Every file is written beside its place and renamed when it is whole; a run that breaks off leaves what it finished.
``docs/schema.md`` describes the fields.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from vitpose.core.extras import require
from vitpose.core.files import atomic_path, atomic_write_text
from vitpose.core.poses import Poses

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which picture or frame a result is about.

    Attributes:
        name: output name: a relative path without suffix, unique in the run.
        source: path or URL as it was given.
        frame: number of the frame in a video, from 0; None for a picture.
        time_s: presentation time of the frame in seconds; None for a picture.
    """

    name: str
    source: str
    frame: int | None = None
    time_s: float | None = None

    @property
    def image_id(self) -> int | str:
        """COCO image id: the number a file name consists of (``000000000139`` is 139), else the name itself."""
        stem = self.name if self.frame is None else f"{self.name}/{self.frame}"
        digits = self.name.rpartition("/")[2]
        return int(digits) if self.frame is None and digits.isdecimal() else stem


class ResultWriter(Protocol):
    """Takes results one by one."""

    def add(self, origin: Origin, poses: Poses) -> None:
        """Write the poses of one picture or frame."""


def to_document(origin: Origin, poses: Poses) -> dict[str, Any]:
    """Return the JSON document of one picture or frame: ``Poses.to_dict`` and where it comes from."""
    document = poses.to_dict()
    document["image"]["source"] = origin.source
    if origin.frame is not None:
        document["image"] |= {"frame": origin.frame, "time_s": origin.time_s}
    return document


class JsonWriter:
    """One ``NAME.json`` a picture; a video's frames go to ``NAME.jsonl``, one line a frame."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._videos: dict[str, IO[str]] = {}

    def add(self, origin: Origin, poses: Poses) -> None:
        """Write one document."""
        document = to_document(origin, poses)
        if origin.frame is None:
            path = self._folder / f"{origin.name}.json"
            atomic_write_text(path, _readable(document))
            return
        if origin.name not in self._videos:
            opened = _open_text(self._folder / f"{origin.name}.jsonl")
            self._videos[origin.name] = self._stack.enter_context(opened)
        self._videos[origin.name].write(json.dumps(document, ensure_ascii=False) + "\n")


class CocoWriter:
    """All results in one ``coco_results.json``, as pycocotools and faster-coco-eval load them."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._file = stack.enter_context(_open_text(folder / "coco_results.json"))
        self._file.write("[")
        self._first = True
        stack.callback(self._file.write, "\n]\n")

    def add(self, origin: Origin, poses: Poses) -> None:
        """Append one entry a person."""
        for entry in poses.to_coco_results(origin.image_id):
            self._file.write(("\n" if self._first else ",\n") + json.dumps(entry))
            self._first = False


class TableWriter:
    """All results in one long table, ``poses.csv`` or ``poses.parquet``: one row a picture, person and keypoint."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, suffix: str) -> None:
        self._path = folder / f"poses.{suffix}"
        self._stack = stack
        self._writer: Any = None

    def add(self, origin: Origin, poses: Poses) -> None:
        """Append one row a person and keypoint; a picture without people adds none."""
        table = _with_origin(origin, poses)
        if self._writer is None:
            self._writer = self._open(table.schema)
        self._writer.write_table(table)

    def _open(self, schema: "pa.Schema") -> Any:
        temporary = str(self._stack.enter_context(atomic_path(self._path)))
        if self._path.suffix == ".csv":
            csv = require("pyarrow.csv", "all", "writing CSV")
            return self._stack.enter_context(csv.CSVWriter(temporary, schema))
        parquet = require("pyarrow.parquet", "all", "writing Parquet")
        return self._stack.enter_context(parquet.ParquetWriter(temporary, schema))


def _readable(document: dict[str, Any]) -> str:
    """One line a field and one line a person: small, and still good to read and to compare."""
    fields = dict(document)
    people = ",\n  ".join(json.dumps(person, ensure_ascii=False) for person in fields.pop("people"))
    lines = [f' "{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in fields.items()]
    lines.append(f' "people": [\n  {people}\n ]' if people else ' "people": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


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


def open_writers(formats: tuple[str, ...], folder: Path, stack: contextlib.ExitStack) -> list[ResultWriter]:
    """Open a writer for each of ``json``, ``coco``, ``csv``, ``parquet`` in ``formats``.

    Files appear when ``stack`` closes without an exception; per-picture JSON appears at once.
    """
    writers: list[ResultWriter] = []
    if "json" in formats:
        writers.append(JsonWriter(folder, stack))
    if "coco" in formats:
        writers.append(CocoWriter(folder, stack))
    writers.extend(TableWriter(folder, stack, suffix) for suffix in ("csv", "parquet") if suffix in formats)
    return writers
