"""What may be written over: files that are recognisably results of an earlier run, by what is in them.

Everything else of these names is somebody's own, and a run that would replace it is refused before it begins. There is
no list of files beside the results that could be lost or go out of date: each kind of file says itself what it is.
"""

import functools
import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitpose.core.errors import MissingExtraError, UsageError, VitPoseError
from vitpose.core.extras import require
from vitpose.core.files import file_identity
from vitpose.core.poses import SCHEMA
from vitpose.formats.coco_video import COCO_ENDING, DESCRIPTION
from vitpose.formats.film_tables import FILM_TABLE
from vitpose.formats.results import COCO_CATEGORIES, COCO_RESULTS, TABLE, categories_text
from vitpose.formats.skeleton_sequences import SKELETONS
from vitpose.media.segments import is_begun, parts_in
from vitpose.media.sources import DRAWN, OVERLAY, is_drawn_film
from vitpose.motion.report import BEGINNING
from vitpose.motion.tables import TABLES
from vitpose.pipeline.film_output import FilmFiles
from vitpose.pipeline.journal import RUN_SCHEMA

_HEAD, _NAMED_WITHIN = 1024, 200
"""Bytes of a file that say what it is, and among which it names itself."""

_TABLE_HEADS = ('"source","frame","time_s","person","track_id","label",',)
"""How the tables of pictures and of films begin."""

Rule = Callable[[Path], bool]


class Claim:
    """Says where results will lie, and refuses what is somebody else's.

    Every method raises a ``UsageError`` where a source or a file that is no result would be written over, and a
    ``VitPoseError`` where nobody can tell.
    """

    def __init__(self, sources: Iterable[str | Path] = ()) -> None:
        """Note which files are read: they are written over in no case.

        Args:
            sources: files and addresses; a file is known by what it is, whatever path leads to it.
        """
        self._sources = {identity for source in sources if (identity := file_identity(Path(source))) is not None}

    def picture(self, out: Path, name: str, formats: Sequence[str]) -> None:
        """Claim the files of one picture."""
        if "json" in formats:
            self._claim(out / f"{name}.json", _says(SCHEMA))
        if "overlay" in formats:
            self._claim(out / f"{name}{OVERLAY}", _says(DRAWN))

    def everything(self, out: Path, formats: Sequence[str]) -> None:
        """Claim the files about all pictures together."""
        if "coco" in formats:
            self._claim(out / f"{COCO_RESULTS}.json", _is_coco)
            self._claim(out / f"{COCO_CATEGORIES}.json", _is_categories)
        if "csv" in formats:
            self._claim(out / f"{TABLE}.csv", _is_csv)
        if "parquet" in formats:
            self._claim(out / f"{TABLE}.parquet", _is_parquet)

    def film(self, files: FilmFiles, formats: Sequence[str], *, measured: bool = False) -> None:
        """Claim the files of a film, and those there are while it is worked on."""
        self._claim(files.run.path, _says(RUN_SCHEMA))
        run = _noted(files)
        # What a run has begun is its own, down to half a line of a journal.
        begun = run is not None and not run.get("complete")
        if "json" in formats:
            self._claim(files.journal, _says(SCHEMA))
        for path in (files.partial, files.smoothed):
            self._claim(path, lambda path: begun or _says(SCHEMA)(path))
        if "overlay" in formats:
            # Films were not always marked, but a complete run has always noted which ones it made.
            made = run.get("drawn", ()) if run else ()
            self._claim(files.film, lambda path: path.name in made or is_drawn_film(path))
            self._claim(files.film.with_suffix(".partial.mp4"), lambda path: begun or is_drawn_film(path))
            _refuse_parts(files.film.with_suffix(".parts"), begun=begun)
        for kind in _FILM_RULES.keys() & set(formats):
            ending, rule = _FILM_RULES[kind]
            self._claim(files.path(ending), rule)
        if "openpose" in formats:
            self._openpose(files)
        if measured:
            self.measured(files.path(".motion"))

    def _openpose(self, files: FilmFiles) -> None:
        """Files that OpenPose wrote of the film itself have the names of ours: the note beside the folder tells."""
        folder, note = files.folder / files.name, files.path(".openpose.json")
        self._claim(note, lambda path: _head(path).startswith(b'{\n "skeleton": '))
        if folder.exists() and not folder.is_dir():
            raise _somebodys(folder)
        if not note.exists() and folder.is_dir():
            for path in folder.iterdir():
                if path.name.startswith(f"{folder.name}_") and path.name.endswith("_keypoints.json"):
                    raise _somebodys(path)

    def measured(self, folder: Path, format_: str = "csv") -> None:
        """Claim the tables and the report of measured movement."""
        self._claim(folder / "report.html", lambda path: _head(path).startswith(BEGINNING.encode()))
        for name, columns in TABLES.items():
            titles = tuple(columns(()))
            title = ",".join(f'"{column}"' for column in titles).encode()
            begins, has = functools.partial(_begins, beginning=title), functools.partial(_has_columns, titles=titles)
            self._claim(folder / f"{name}.{format_}", has if format_ == "parquet" else begins)

    def _claim(self, path: Path, rule: Rule) -> None:
        """Refuse what is there unless it is ours; an empty file holds nothing that could be lost."""
        try:
            if not (path.exists() or path.is_symlink()):
                return
            if file_identity(path) in self._sources:
                raise UsageError(f"{path} is a source and would be overwritten: choose another folder with --out")
            ours = path.is_file() and (not path.stat().st_size or rule(path))
        except OSError as error:
            raise VitPoseError(
                f"{path} cannot be read ({error.strerror or error}), so it is not written over: choose another folder"
                " with --out"
            ) from error
        if not ours:
            raise _somebodys(path)


def _somebodys(path: Path) -> UsageError:
    return UsageError(f"{path} exists and is not a result of this command: choose another folder with --out")


def _noted(files: FilmFiles) -> dict[str, Any] | None:
    """Return what an earlier run has noted; an unreadable note of ours is that of a run nobody knows the end of."""
    try:
        return files.run.load()
    except UsageError:
        return {}


def _says(words: str) -> Rule:
    """Return a rule: the beginning names what the file is; versions, which stand after a slash, are all ours."""
    mark = words.partition("/")[0].encode()
    return lambda path: mark in _head(path)[:_NAMED_WITHIN]


def _begins(path: Path, beginning: bytes) -> bool:
    return _head(path).startswith(beginning)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_csv(path: Path) -> bool:
    return _head(path).decode("utf-8", "replace").startswith(_TABLE_HEADS)


def _schema(path: Path) -> Any:
    """Return the schema of a Parquet file, None for what is none."""
    try:
        return require("pyarrow.parquet", "all", "writing tables").read_schema(str(path))
    except MissingExtraError:
        raise
    except Exception:  # pyarrow raises many kinds of errors on files that are none of its own
        return None


def _has_columns(path: Path, titles: tuple[str, ...]) -> bool:
    schema = _schema(path)
    return schema is not None and tuple(schema.names[: len(titles)]) == titles


def _is_parquet(path: Path) -> bool:
    schema = _schema(path)
    if schema is None:
        return False
    columns = ",".join(f'"{name}"' for name in schema.names)
    said = (schema.metadata or {}).get(b"vitpose.schema", b"")
    return columns.startswith(_TABLE_HEADS) or said.startswith(FILM_TABLE.partition("/")[0].encode())


def _is_coco(path: Path) -> bool:
    # COCO's own layout has no room for a name; ours begins each result in a line of its own.
    head = _head(path)
    return head == b"[]\n" or (head.startswith(b'[\n{"image_id": ') and b', "keypoints": [' in head)


def _is_categories(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        table = json.loads(text)
    except ValueError:
        return False
    rows = isinstance(table, list) and all(isinstance(row, dict) and list(row) == ["id", "name"] for row in table)
    return rows and text == categories_text({row["name"]: row["id"] for row in table})


def _is_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("schema.npy") as entry:
            schema = np.lib.format.read_array(entry, allow_pickle=False)
    except (zipfile.BadZipFile, KeyError, ValueError):
        return False
    return str(schema).startswith(SKELETONS.partition("/")[0])


def _refuse_parts(folder: Path, *, begun: bool) -> None:
    begun = begun or is_begun(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise _somebodys(folder)
    for path in () if begun else parts_in(folder):
        raise _somebodys(path)


_FILM_RULES: dict[str, tuple[str, Rule]] = {
    "csv": (".csv", _is_csv),
    "parquet": (".parquet", _is_parquet),
    "coco-video": (COCO_ENDING, _says(DESCRIPTION)),
    "skeletons": (".npz", _is_arrays),
}
"""Ending of each format of a film, and how a file of ours is told from others."""
