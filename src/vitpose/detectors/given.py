"""Boxes that somebody else found, read from a file and matched to the pictures."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from vitpose.core.errors import InputError
from vitpose.core.poses import Boxes
from vitpose.detectors.boxfiles import Entry, read_box_file

log = logging.getLogger(__name__)

Key: TypeAlias = str | int
"""What a file calls a picture: its file name or its COCO image id."""

_COCO_2014 = re.compile(r"COCO_\w+_(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class GivenBoxes:
    """The boxes of a file, picture by picture.

    A picture belongs to the entry with its file name; of several with the same last part the one whose folders agree
    furthest. Where a file gives image ids without names, the id is the number a picture's file name consists of
    (``000000000785.jpg`` is 785).

    Attributes:
        source: the file.
        entries: the boxes of each picture the file knows; a picture it knows without boxes has none.
        keys: the picture every name, without its folders, may stand for.
        numbers: COCO image ids by name, where the file gives them.
    """

    source: str
    entries: dict[Key, tuple[Entry, ...]]
    keys: dict[Key, tuple[Key, ...]]
    numbers: dict[Key, int] = field(init=False)

    def __post_init__(self) -> None:
        """Turn the numbers round once: a data set has a hundred thousand of them."""
        numbers: dict[Key, int] = {}
        for number, names in self.keys.items():
            if isinstance(number, int):
                for name in names:
                    numbers.setdefault(name, number)
        object.__setattr__(self, "numbers", numbers)

    @classmethod
    def from_file(
        cls, path: str | Path, *, classes: Sequence[str] | None = None, threshold: float = 0.0
    ) -> "GivenBoxes":
        """Read a file of boxes; ``read_box_file`` lists the forms it may have.

        Args:
            path: the file.
            classes: keep only the boxes with these class names; all by default.
            threshold: leave out boxes with a lower score.

        Raises:
            InputError: unreadable, of another form, or a box that is not one; the message names file and entry.
        """
        file = read_box_file(path)
        wanted = None if classes is None else {name.casefold() for name in classes}
        boxes: dict[Key, list[Entry]] = defaultdict(list)
        for entry in file.entries:
            key = file.file_names.get(entry.picture, entry.picture)
            good = entry.score >= threshold and (wanted is None or entry.label.casefold() in wanted)
            boxes[key].extend([entry] if entry.box is not None and good else [])
        labels = Counter(entry.label for entries in boxes.values() for entry in entries)
        if wanted is not None and not labels:
            known = sorted({entry.label for entry in file.entries if entry.box is not None})
            raise InputError(f"{path} has no boxes of {', '.join(classes or ())}; it has {', '.join(known) or 'none'}")
        if wanted is None and len(labels) > 1:
            shown = ", ".join(f"{label} ({count})" for label, count in labels.most_common(5))
            log.warning("%s has boxes of %d classes, and all are used: %s", path, len(labels), shown)
        keys: dict[Key, list[Key]] = defaultdict(list)
        for key in boxes:
            keys[_last_part(key)].append(key)
        for image_id, name in file.file_names.items():
            if image_id not in keys:
                keys[image_id].append(name)
        entries = {key: tuple(found) for key, found in boxes.items()}
        return cls(str(path), entries, {part: tuple(found) for part, found in keys.items()})

    def boxes_for(self, picture: Key | os.PathLike[str], image_size: Sequence[int] | None) -> Boxes:
        """Return the boxes of one picture; none when the file does not know it.

        Args:
            picture: path, address or COCO image id.
            image_size: height and width of the upright picture in pixels; None leaves boxes that lie outside.

        Raises:
            InputError: a box lies wholly outside the picture, or two entries fit the picture equally well.
        """
        key = self._find(picture)
        entries = self.entries.get(key, ()) if key is not None else ()
        height, width = image_size or (0, 0)
        for entry in entries:
            x1, y1, x2, y2 = entry.box or (0, 0, 0, 0)
            if image_size is not None and (x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height):
                raise InputError(
                    f"{entry.where}: box [{x1:g}, {y1:g}, {x2:g}, {y2:g}] lies outside the picture {picture},"
                    f" which is {width}x{height}"
                )
        xyxy = np.array([entry.box for entry in entries], dtype=np.float32).reshape(-1, 4)
        scores = np.array([entry.score for entry in entries], dtype=np.float32)
        return Boxes(xyxy, scores, tuple(entry.label for entry in entries))

    def image_id(self, picture: str | os.PathLike[str]) -> int | str | None:
        """Return the COCO image id the file gives a picture; None where it has none."""
        key = self._find(picture)
        if isinstance(key, int) or key is None:
            return key
        return self.numbers.get(key)

    def knows(self, picture: str | os.PathLike[str]) -> bool:
        """Whether the file says anything of a picture, if only that nobody is in it."""
        return self._find(picture) is not None

    def check_sources(self, pictures: Iterable[str | os.PathLike[str]]) -> None:
        """Check before a run that file and pictures belong together; what does not is counted in a warning.

        Raises:
            InputError: no picture has an entry, or one entry fits two pictures.
        """
        owners: dict[Key, str] = {}
        names = [os.fspath(picture) for picture in pictures]
        for picture in names:
            key = self._find(picture)
            if key is not None and owners.setdefault(key, picture) != picture:
                raise InputError(
                    f"{self.source}: entry {key!r} fits both {owners[key]} and {picture}; write the folders into"
                    " the file's names, or run the two one by one"
                )
        count = len(names)
        if count and not self.entries:
            raise InputError(
                f"{self.source} has no boxes and names no pictures; to say that nobody is in a picture, name"
                " it without a box"
            )
        if count and not owners:
            known = ", ".join(repr(key) for key in list(self.entries)[:3]) + " …" * (len(self.entries) > 3)
            raise InputError(f"{self.source}: none of the {count} pictures has an entry; the file knows {known}")
        unknown, unused = count - len(owners), len(self.entries) - len(owners)
        if unknown:
            log.warning("%s: %d of %d pictures have no entry and so no boxes", self.source, unknown, count)
        if unused:
            log.warning("%s: %d entries are about pictures that were not given", self.source, unused)

    def _find(self, picture: Key | os.PathLike[str]) -> Key | None:
        """Return the entry of a picture."""
        if isinstance(picture, int):
            return next(iter(self.keys.get(picture, ())), None)
        path = PurePosixPath(_posix(os.fspath(picture)))
        for part in (path.name, path.stem):
            candidates = [key for key in self.keys.get(part, ()) if isinstance(key, str)]
            if candidates:
                return self._best(candidates, path)
        image_id = _image_id(path.stem)
        return None if image_id is None else self._find(image_id)

    def _best(self, candidates: Sequence[str], path: PurePosixPath) -> str:
        agree = [_shared_tail(PurePosixPath(_posix(key)).parts, path.parts) for key in candidates]
        best = [key for key, length in zip(candidates, agree, strict=True) if length == max(agree)]
        if len(best) > 1:
            raise InputError(f"{self.source}: {path} may be {best[0]!r} or {best[1]!r}; give it with its folders")
        return best[0]


def _last_part(key: Key) -> Key:
    return PurePosixPath(_posix(key)).name if isinstance(key, str) else key


def _posix(name: str) -> str:
    """Use one kind of slash, and of an address only what stands before the query."""
    if "://" in name:
        return name.partition("?")[0].partition("#")[0]
    return name.replace("\\", "/")


def _shared_tail(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the last parts two paths have in common; a name without its suffix counts as the name."""
    shared = 1
    for a, b in zip(reversed(first[:-1]), reversed(second[:-1]), strict=False):
        if a != b:
            break
        shared += 1
    return shared


def _image_id(stem: str) -> int | None:
    coco = _COCO_2014.fullmatch(stem)
    digits = coco[1] if coco else stem
    return int(digits) if digits.isdecimal() else None
