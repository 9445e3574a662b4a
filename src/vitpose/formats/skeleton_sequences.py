"""A film as arrays for action recognition, ``NAME.npz``: people x frames x keypoints, without pickle.

Fields and their shapes are those of an annotation of PYSKL (kennymckormick/pyskl, ``tools/data/README.md``);
``docs/schema.md`` shows how to make one. The large arrays are put together in files without a name beside the result,
so memory does not grow with the film.
"""

import contextlib
import io
import logging
import shutil
import tempfile
import zipfile
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError
from vitpose.core.files import GrowingFile
from vitpose.formats.film_facts import FilmFacts, FilmFrame

SKELETONS = "vitpose.skeletons/1"
"""Name and version of the fields; it stands in the file as ``schema``."""

_FRAMES_AT_ONCE = 256
_NOBODY = -1
_DATE = (1980, 1, 1, 0, 0, 0)
_LOG = logging.getLogger(__name__)


class SkeletonWriter:
    """Collects everybody's points in file order (person, frame) although they come frame by frame."""

    def __init__(self, facts: FilmFacts, path: Path, *, most: int | None, half: bool) -> None:
        """Decide who is in.

        Raises:
            InputError: the picture size changes in the film, which these files have no room for.
        """
        if len(facts.sizes) > 1:
            sizes = ", ".join(f"{size.width}x{size.height}" for size in facts.sizes)
            raise InputError(
                f"{facts.source}: pictures of several sizes ({sizes}); the format skeletons has room for one"
            )
        self._facts = facts
        self._file = GrowingFile(path)
        dtype = np.dtype(np.float16 if half else np.float32)
        ranked = sorted(facts.totals, key=lambda one: (-facts.totals[one], one))
        self._ids = (ranked or [_NOBODY] * facts.most_people)[:most]
        self._total = len(ranked) or facts.most_people
        self._place = {track_id: place for place, track_id in enumerate(self._ids)} if ranked else None
        shape = (len(self._ids), facts.frames, len(facts.keypoints))
        self._points = _LargeArray(self._file, (*shape, 2), dtype)
        self._scores = _LargeArray(self._file, shape, dtype)
        self._frames = array("q")
        self._times = array("d")

    def add(self, frame: FilmFrame) -> None:
        """Take one frame; who is not in it stays zero with score zero."""
        points, scores = self._points.row(), self._scores.row()
        for place, person in self._places(frame):
            points[place] = frame.poses.xy[person]
            scores[place] = frame.poses.scores[person]
        self._points.advance()
        self._scores.advance()
        self._frames.append(frame.frame)
        self._times.append(frame.time_s)

    def _places(self, frame: FilmFrame) -> list[tuple[int, int]]:
        """Return pairs of place in the arrays and position in the frame."""
        poses = frame.poses
        if self._place is None:  # nobody was followed: the best of each frame first
            return list(enumerate(np.argsort(-poses.score, kind="stable")[: len(self._ids)].tolist()))
        ids = [] if poses.track_ids is None else poses.track_ids.tolist()
        pairs = [(self._place[one], person) for person, one in enumerate(ids) if one in self._place]
        if len({place for place, _ in pairs}) < len(pairs):
            raise InputError(
                f"{self._facts.source}: an id is given twice in frame {frame.frame}; split one of them first"
            )
        return pairs

    def finish(self) -> list[Path]:
        """Put the arrays into one file and give it its name."""
        if len(self._ids) < self._total:
            message = "%s: %d of %d people are kept; skeleton_people says how many"
            _LOG.warning(message, self._file.path.name, len(self._ids), self._total)
        self._file.guard(self._pack)
        self._file.keep()
        self.discard()
        return [self._file.path]

    def _pack(self) -> None:
        with zipfile.ZipFile(self._file.temporary, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, large in (("keypoint", self._points), ("keypoint_score", self._scores)):
                with _entry(archive, name) as entry:
                    large.copy_to(entry)
            for name, values in self._small().items():
                with _entry(archive, name) as entry:
                    np.lib.format.write_array(entry, np.asarray(values), allow_pickle=False)

    def _small(self) -> Mapping[str, NDArray[Any]]:
        facts = self._facts
        size = np.array(facts.sizes[0] if facts.sizes else (0, 0), np.int64)
        return {
            "schema": np.array(SKELETONS),
            "source": np.array(facts.source),
            "skeleton": np.array(facts.skeleton.name if facts.skeleton else ""),
            "keypoint_names": np.array(facts.keypoints, dtype=np.str_),
            "track_ids": np.array(self._ids, np.int64),
            "people_in_film": np.array(self._total, np.int64),
            "unclaimed": np.array(facts.unclaimed if self._place is not None else 0, np.int64),
            "frame_index": np.array(self._frames, np.int64),
            "time_s": np.array(self._times, np.float64),
            "total_frames": np.array(facts.frames, np.int64),
            "img_shape": size,
            "original_shape": size,
            "label": np.array(_NOBODY, np.int64),
        }

    def discard(self) -> None:
        """Remove what is not finished."""
        self._file.discard()
        self._points.close()
        self._scores.close()


class _LargeArray:
    """An array ``(people, frames, ...)`` on disk that is written frame by frame; blocks nobody is in cost no space."""

    def __init__(self, owner: GrowingFile, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._owner = owner
        self._shape, self._dtype = shape, dtype
        self._file: IO[bytes] = owner.guard(_unnamed, owner.path.parent)
        self._block = np.zeros((shape[0], min(_FRAMES_AT_ONCE, max(shape[1], 1)), *shape[2:]), dtype)
        self._filled = self._written = 0

    def row(self) -> NDArray[Any]:
        """Return the next frame's ``(people, ...)`` to fill in; it is all zero."""
        row: NDArray[Any] = self._block[:, self._filled]
        return row

    def advance(self) -> None:
        """Go on to the frame after it."""
        self._filled += 1
        if self._filled == self._block.shape[1]:
            self._owner.guard(self._flush)

    def _flush(self) -> None:
        per_frame = int(np.prod(self._shape[2:])) * self._dtype.itemsize
        for person, values in enumerate(self._block[:, : self._filled]):
            if values.any():
                self._file.seek((person * self._shape[1] + self._written) * per_frame)
                self._file.write(np.ascontiguousarray(values).tobytes())
        self._written += self._filled
        self._filled = 0
        self._block[:] = 0

    def copy_to(self, entry: IO[bytes]) -> None:
        """Write the array in numpy's format."""
        self._flush()
        self._file.truncate(int(np.prod(self._shape)) * self._dtype.itemsize)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(entry, header)
        self._file.seek(0)
        shutil.copyfileobj(self._file, entry, io.DEFAULT_BUFFER_SIZE * 128)

    def close(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):  # of the rest that could not be written
            self._file.close()


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open an entry for writing; its date is fixed, so the same film gives the same bytes."""
    about = zipfile.ZipInfo(f"{name}.npy", date_time=_DATE)
    about.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(about, "w", force_zip64=True)


def _unnamed(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder)  # closed by the writer; gone with the process, however it ends
