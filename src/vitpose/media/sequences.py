"""Pictures on disk as the frames of a film: by a printf pattern, or all pictures of a folder."""

import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.media.frames import Frame, Span, VideoInfo
from vitpose.media.images import read_image
from vitpose.media.sources import IMAGE_SUFFIXES, OVERLAY, PATTERN, natural_key

log = logging.getLogger(__name__)

_SHOWN_GAPS = 5


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture and how many frame times after the first it was taken."""

    path: Path
    steps: int


class ImageSequence:
    """Pictures taken at a steady rate.

    Of a pattern (``shots/%05d.jpg``) those pictures that are on disk are taken, by number; a number that is missing
    leaves its time free, and is reported. Of a folder all pictures are taken in natural order, hidden files and drawn
    results excepted, without gaps. Indices count the pictures that are there.

    Attributes:
        name: what results are named by.
        info: facts about the whole sequence.
    """

    def __init__(self, location: str, span: Span, *, name: str | None = None, rate: float | None = None) -> None:
        """List the pictures and read the first.

        Args:
            location: folder or pattern.
            span: the frames that are wanted; times begin at 0 with the first picture.
            name: what results are named by; by default the location.
            rate: pictures a second, which nothing on disk tells.

        Raises:
            InputError: no such folder, no such picture, or the first cannot be read.
            UsageError: no rate, or a pattern that is not one number in a file name.
        """
        if rate is None:
            raise UsageError(
                f"{location}: pictures carry no times; say how many there are a second (--fps, or rate= in Python)"
            )
        folder = Path(location)
        self.name = location if name is None else name
        self._location, self._span, self._rate = location, span, rate
        self._shots = _of_folder(folder) if folder.is_dir() else _of_pattern(folder)
        first = read_image(self._shots[0].path)
        self.info = VideoInfo(
            size=Size(*first.shape[:2]),
            rate=rate,
            frames=len(self._shots),
            duration_s=(self._shots[-1].steps + 1) / rate,
            audio=False,
            live=False,
        )

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the pictures of the span whose index is above ``after``; see ``FrameSource``.

        Raises:
            InputError: a picture cannot be read or has another size than the first; with ``after=-1``, none lies in the
                span.
        """
        nothing = after < 0
        for index, shot in enumerate(self._shots):
            time_s = shot.steps / self._rate
            if self._span.is_over(time_s):
                break
            if index <= after or not self._span.holds(index, time_s):
                continue
            nothing = False
            image = read_image(shot.path)
            size = Size(*image.shape[:2])
            if size != self.info.size:
                first, wanted = self._shots[0].path, self.info.size
                raise InputError(
                    f"{shot.path} has {size.width}x{size.height} pixels, but {first.name}, the first of the sequence,"
                    f" has {wanted.width}x{wanted.height}: the frames of a film must be of one size"
                )
            yield Frame(index, time_s, image)
        if nothing:
            raise self._span.nothing_in(self._location, self._shots[-1].steps / self._rate)


def _of_folder(folder: Path) -> list[_Shot]:
    files = _files(folder)
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.endswith(OVERLAY)]
    if not pictures:
        raise InputError(f"{folder} holds no pictures to take as a film")
    if len(pictures) < len(files):
        log.warning("%s: passed over %d files that are not pictures", folder, len(files) - len(pictures))
    ordered = sorted(pictures, key=lambda path: natural_key(path.name))
    return [_Shot(path, steps) for steps, path in enumerate(ordered)]


def _of_pattern(pattern: Path) -> list[_Shot]:
    places = list(PATTERN.finditer(pattern.name))
    if len(places) != 1 or PATTERN.search(str(pattern.parent)):
        raise UsageError(f"{pattern}: a sequence has one number, like %05d, and has it in the name of the file")
    if not pattern.parent.is_dir():
        raise InputError(f"{pattern.parent} is not a folder, so {pattern} matches no pictures")
    (place,) = places
    width = int(place["width"] or 1)
    before, after = pattern.name[: place.start()], pattern.name[place.end() :]
    number = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found: dict[int, Path] = {}
    for path in _files(pattern.parent):
        match = number.fullmatch(path.name)
        # Only what printf writes: 7 is 00007 for %05d, and never 007.
        if match and match[1].isascii() and match[1] == f"{int(match[1]):0{width}d}":
            found[int(match[1])] = path
    if not found:
        raise InputError(f"{pattern} matches no pictures")
    numbers = sorted(found)
    _report_gaps(pattern, numbers)
    return [_Shot(found[one], one - numbers[0]) for one in numbers]


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error


def _report_gaps(pattern: Path, numbers: list[int]) -> None:
    gaps = [(low + 1, high - 1) for low, high in itertools.pairwise(numbers) if high - low > 1]
    if not gaps:
        return
    shown = ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in gaps[:_SHOWN_GAPS])
    log.warning(
        "%s: %d of the numbers %d to %d are missing (%s%s); their time is left free",
        pattern,
        numbers[-1] - numbers[0] + 1 - len(numbers),
        numbers[0],
        numbers[-1],
        shown,
        ", ..." if len(gaps) > _SHOWN_GAPS else "",
    )
