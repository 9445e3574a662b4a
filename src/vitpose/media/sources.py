"""What a user typed, as single sources: files, folders, globs, list files and web addresses become one flat list."""

import glob
import json
import logging
import os
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar

from vitpose.core.errors import InputError, MissingExtraError
from vitpose.core.extras import require
from vitpose.core.text import readable
from vitpose.media.urls import is_url, without_password

log = logging.getLogger(__name__)

T = TypeVar("T")

Kind = Literal["image", "video", "url", "sequence", "stream"]

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".jp2", ".avif", ".qoi")
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp")
)
LIST_SUFFIX = ".txt"
PLAYLIST_SUFFIX = ".m3u8"
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt")
"""Schemes of addresses that are live whatever they end in."""
OVERLAY = ".overlay.jpg"
"""Ending of the pictures that are written as results; a folder's are not taken for pictures to work on."""
DRAWN = "Poses drawn by vitpose"
"""Comment in every picture and film that is drawn, by which the next run knows that it may take their places."""

MAX_NAME = 150
"""Longest name of a result, in characters; file systems end at 255 bytes with suffixes."""

PATTERN = re.compile(r"%(0(?P<width>[1-9]\d*))?d")
"""Place of the number in a printf pattern: ``%d`` or, filled up with zeros, ``%05d``."""

WEBCAM = re.compile(r"webcam:(?P<number>\d{1,3})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """One picture or video to work on.

    Attributes:
        kind: ``image``, ``video``, ``url`` (a picture on the web), ``sequence`` (pictures that are a film's frames) or
            ``stream`` (a camera, or an address that has frames).
        location: path, address, ``webcam:0``, or for a sequence its folder or printf pattern.
        name: relative path without suffix to name results by; no other source of the same list has it.
    """

    kind: Kind
    location: str
    name: str


def expand_sources(
    sources: Sequence[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    as_video: bool = False,
    missing: Callable[[str, InputError], None] | None = None,
) -> list[Source]:
    """Return the pictures and videos that ``sources`` stand for, in order, each once.

    A file is taken by its suffix as a video or else as a picture. Of a folder the pictures and videos are taken, in
    natural order (``frame2`` before ``frame10``), without its sub-folders unless ``recursive``; hidden files are
    passed over, other files are counted in a warning. A link that leads nowhere and a pipe are listed by their names
    like files, so that whoever reads them says what is wrong. The same goes for what a glob matches (``**`` goes into
    sub-folders). A ``.txt`` file lists one source a line, relative to itself; lines that start with ``#`` are comments.
    ``shots/%05d.jpg`` is a sequence, ``webcam:0`` a camera; addresses of videos, playlists and live protocols are
    streams, other ``http`` addresses are pictures.

    Results are named after the file without its suffix; where two sources would share a name, by as much of the path
    as tells them apart.

    Args:
        sources: what a user typed.
        recursive: take sub-folders too.
        as_video: take the pictures of a folder, without its sub-folders, as one sequence.
        missing: told about what is missing, which then does not stop the others.

    Raises:
        InputError: something is missing, or a folder, glob or list holds no picture and no video.
    """
    found: dict[str, Source] = {}

    def passing_over(text: str, call: Callable[[], Iterable[T]]) -> Iterator[T]:
        try:
            yield from call()
        except InputError as error:
            if missing is None:
                raise
            missing(text, error)

    for given in [os.fspath(source) for source in sources]:
        for text, listed_in in passing_over(given, partial(_lines, given)):
            expand = partial(_expand, text, recursive=recursive, as_video=as_video, listed_in=listed_in)
            for source in passing_over(text, expand):
                key = source.location if source.kind in ("url", "stream") else str(_absolute(source.location))
                found.setdefault(key, source)
    if not found and missing is None:
        raise InputError("no pictures or videos were given")
    return _name_apart(list(found.values()))


def _lines(text: str) -> Iterator[tuple[str, str | None]]:
    """Replace a list file by what it lists; yield what to expand and where it is listed."""
    path = Path(text)
    if text and not _is_address(text) and path.suffix.lower() == LIST_SUFFIX and path.is_file():
        yield from _list_file(path)
    else:
        yield text, None


def _expand(text: str, *, recursive: bool, as_video: bool, listed_in: str | None) -> Iterator[Source]:
    where = f" (listed in {listed_in})" if listed_in else ""
    if _is_address(text):
        try:
            yield _address(text)
        except ValueError as error:
            raise InputError(f"{shown(text)}{where} is no address: {error}") from error
        return
    path = Path(text)
    _look_at(path, f"{text}{where}")
    if text and path.is_dir() and as_video:
        yield Source("sequence", text, _absolute(text).name or "pictures")
    elif text and path.is_dir():
        yield from _folder(path, recursive=recursive)
    elif text and (path.exists() or path.is_symlink()):
        if listed_in and path.suffix.lower() == LIST_SUFFIX:
            raise InputError(f"{text}{where}: a list cannot hold another list")
        yield _file(path)
    elif PATTERN.search(text):
        yield Source("sequence", text, _pattern_name(path))
    elif glob.has_magic(text):
        yield from _glob(text, where)
    else:
        raise InputError(f"{text or 'an empty name'}{where} does not exist")


def _look_at(path: Path, name: str) -> None:
    """Refuse what the system will not even look for: too long a name, or a folder that may not be entered."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be looked at: {getattr(error, 'strerror', None) or error}") from error


def is_stream(text: str) -> bool:
    """Whether ``text`` is a camera (``webcam:0``) or an address that has frames rather than one picture."""
    if WEBCAM.fullmatch(text) or text.lower().startswith(tuple(f"{scheme}://" for scheme in STREAM_SCHEMES)):
        return True
    suffix = PurePath(urllib.parse.urlsplit(text).path).suffix.lower() if is_url(text) else ""
    return suffix in VIDEO_SUFFIXES or suffix == PLAYLIST_SUFFIX


def shown(location: str) -> str:
    """Return a location as results may say it: without a password, and as JSON can, for file names may be any bytes."""
    text = without_password(location) if _is_address(location) else location
    return readable(text)


def _is_address(text: str) -> bool:
    return is_url(text) or is_stream(text)


def _address(text: str) -> Source:
    """Name an address; a ValueError says that it is none."""
    camera = WEBCAM.fullmatch(text)
    if camera:
        return Source("stream", text, f"webcam-{camera['number']}")
    return Source("stream" if is_stream(text) else "url", text, _url_name(text))


def _file(path: Path, base: Path | None = None) -> Source:
    kind: Kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"
    name = path.relative_to(base) if base else PurePath(path.name)
    return Source(kind, str(path), name.with_suffix("").as_posix())


def _folder(path: Path, *, recursive: bool) -> Iterator[Source]:
    try:
        entries = path.rglob("*") if recursive else path.iterdir()
        files = [entry for entry in entries if not entry.is_dir() and not _is_hidden(entry.relative_to(path))]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    chosen = _pictures_and_videos(files, str(path))
    if not chosen:
        hint = "" if recursive else f"; for those in sub-folders add --recursive, or give '{path}/**/*'"
        raise InputError(f"{path} holds no pictures and no videos{hint}")
    yield from (_file(entry, path) for entry in chosen)


def _glob(pattern: str, where: str) -> Iterator[Source]:
    # Path.glob takes no absolute patterns.
    files = [Path(match) for match in glob.iglob(pattern, recursive=True) if not Path(match).is_dir()]  # noqa: PTH207
    chosen = _pictures_and_videos(files, pattern)
    if not chosen:
        raise InputError(f"{pattern}{where} matches no pictures and no videos")
    yield from (_file(entry) for entry in chosen)


def _list_file(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of sources: {error}") from error
    entries = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    entries = [(number, line) for number, line in entries if line and not line.startswith("#")]
    if not entries:
        raise InputError(f"{path} lists nothing: write one picture, video or address a line")
    for number, line in entries:
        yield (line if _is_address(line) else str(path.parent / line)), f"{path}, line {number}"


def _pictures_and_videos(files: Sequence[Path], where: str) -> list[Path]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    chosen = [file for file in files if file.suffix.lower() in known and not _is_drawn(file)]
    if chosen and len(chosen) < len(files):
        log.warning("%s: passed over %d files that are not pictures or videos", where, len(files) - len(chosen))
    return sorted(chosen, key=lambda file: natural_key(file.as_posix()))


def _is_drawn(file: Path) -> bool:
    """Whether a picture or film is an annotated one of ours, by its name and what the run beside it says.

    Results may lie beside the films they are of, so that there is a run does not make a film its result.
    """
    if file.name.endswith(OVERLAY):
        return True
    name = file.name.removesuffix(".mp4")
    if name == file.name:
        return False
    if name.endswith(".partial") and file.with_name(f"{name.removesuffix('.partial')}.run.json").is_file():
        return True
    run = file.with_name(f"{name}.run.json")
    if not run.is_file():
        return False
    try:
        noted: Any = json.loads(run.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = None
    if isinstance(noted, dict) and isinstance(noted.get("drawn"), list):
        return file.name in noted["drawn"]
    # A run that has begun again has drawn nothing yet: the film is what an earlier one drew, or what it works on.
    return is_drawn_film(file)


def is_drawn_film(path: Path) -> bool:
    """Whether a film says of itself that we drew it; without PyAV nobody knows, and no film can be worked on."""
    try:
        av = require("av", "video", "reading videos")
    except MissingExtraError:
        return False
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            return bool(container.metadata.get("comment") == DRAWN)
    except (av.FFmpegError, ValueError):
        return False


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key that takes runs of digits as numbers: ``frame2`` comes before ``frame10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", text)]


def _is_hidden(relative: PurePath) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _url_name(url: str) -> str:
    """Name for the results of an address: the last part of its path, without anything a file name cannot hold."""
    parts = urllib.parse.urlsplit(url)
    last = urllib.parse.unquote(parts.path).rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last or parts.hostname or "url"
    return re.sub(r"[^\w\-]+", "_", stem).strip("_")[:MAX_NAME] or "url"


def _pattern_name(path: Path) -> str:
    """Name for the results of a sequence: what surrounds the number, or else the folder."""
    return PATTERN.sub("", path.stem).strip(" _-.") or _absolute(str(path)).parent.name or "pictures"


def _name_apart(sources: list[Source]) -> list[Source]:
    """Give sources that share a name longer ones: the path, then the path with its suffix, then a number."""
    clashing = [i for i in _clashing(sources) if sources[i].kind in ("image", "video")]
    root = _common_folder([_absolute(sources[i].location) for i in clashing])
    for lengthen in (_path_name, _suffixed_name):
        for i in _clashing(sources):
            if sources[i].kind in ("image", "video"):
                sources[i] = replace(sources[i], name=lengthen(_absolute(sources[i].location), root))
    return _numbered(sources)


def _clashing(sources: Sequence[Source]) -> list[int]:
    """Positions of the sources whose names are not their own; file systems may not tell upper from lower case."""
    taken = Counter(source.name.casefold() for source in sources)
    return [i for i, source in enumerate(sources) if taken[source.name.casefold()] > 1]


def _path_name(path: Path, root: Path | None) -> str:
    # A file that only clashes with the longer name of another may lie outside the common folder.
    relative = path.relative_to(root) if root and path.is_relative_to(root) else PurePath(path.name)
    return relative.with_suffix("").as_posix()


def _suffixed_name(path: Path, root: Path | None) -> str:
    return f"{_path_name(path, root)}_{path.suffix.removeprefix('.')}"


def _absolute(location: str) -> Path:
    # Not Path.resolve: two links to one file are two sources, but "a/../x" and "x" are one.
    return Path(os.path.abspath(location))  # noqa: PTH100


def _common_folder(paths: Sequence[Path]) -> Path | None:
    try:
        return Path(os.path.commonpath([path.parent for path in paths])) if paths else None
    except ValueError:  # on different drives
        return None


def _numbered(sources: Sequence[Source]) -> list[Source]:
    names: set[str] = set()
    result = []
    taken = {source.name.casefold() for source in sources}
    for source in sources:
        name, number = source.name, 2
        while name.casefold() in names or (number > 2 and name.casefold() in taken):
            name, number = f"{source.name}-{number}", number + 1
        names.add(name.casefold())
        result.append(replace(source, name=name))
    return result
