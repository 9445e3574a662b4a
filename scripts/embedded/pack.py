"""Pack the data folder into parts small enough to travel, and unpack them where the training runs.

Pictures go in as they are; labels are compressed. ``pack`` then ``unpack`` gives back the files byte by byte.

    python -m scripts.embedded.pack pack --data DATA --out packs
    python -m scripts.embedded.pack unpack --out DATA packs/part-1.zip packs/part-2.zip
"""

import argparse
import logging
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from vitpose.core.errors import InputError, UsageError

PARTS = ("coco", "lspet", "lsp", "no_people")
LIMIT = 59_000_000
"""Bytes in a part."""
_OVERHEAD = 150
"""What a zip archive writes about one file, at most, for names as short as these."""


def pack(data: Path, out: Path, *, limit: int = LIMIT) -> list[Path]:
    """Write ``part-1.zip`` and so on and return them.

    Raises:
        InputError: no data there.
        UsageError: a file is larger than a part.
    """
    files = [
        data / "splits.json",
        *sorted(path for part in PARTS for path in (data / part).rglob("*") if path.is_file()),
    ]
    if len(files) < 2 or not files[0].is_file():
        raise InputError(f"{data} holds no splits.json and pictures")
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, group in enumerate(grouped(files, limit), 1):
        path = out / f"part-{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in group:
                way = zipfile.ZIP_DEFLATED if file.suffix == ".json" else zipfile.ZIP_STORED
                archive.write(file, file.relative_to(data).as_posix(), compress_type=way, compresslevel=9)
        written.append(path)
    return written


def grouped(files: Sequence[Path], limit: int) -> Iterable[list[Path]]:
    """Cut a list of files where a part would become too large; labels count with a quarter of their size."""
    group: list[Path] = []
    total = 0
    for file in files:
        size = file.stat().st_size // (4 if file.suffix == ".json" else 1) + _OVERHEAD
        if size > limit:
            raise UsageError(f"{file} alone is larger than a part of {limit} bytes")
        if total + size > limit:
            yield group
            group, total = [], 0
        group.append(file)
        total += size
    yield group


def unpack(parts: Iterable[Path], out: Path) -> int:
    """Write the files of all parts below ``out`` and return how many there were.

    Raises:
        InputError: not one of our parts.
    """
    count = 0
    for part in parts:
        try:
            with zipfile.ZipFile(part) as archive:
                archive.extractall(out)
                count += len(archive.namelist())
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{part} cannot be unpacked: {error}") from error
    return count


def main(given: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    arguments = argparse.ArgumentParser(description="Pack the data folder into parts, or unpack them.")
    arguments.add_argument("verb", choices=("pack", "unpack"))
    arguments.add_argument("parts", nargs="*", type=Path)
    arguments.add_argument("--data", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--limit-mb", type=float, default=LIMIT / 1e6, help="largest part in 10^6 bytes")
    chosen = arguments.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log = logging.getLogger("embedded")
    if chosen.verb == "unpack":
        log.info("%d files -> %s", unpack(chosen.parts, chosen.out), chosen.out)
        return
    if chosen.data is None:
        raise UsageError("pack needs --data FOLDER")
    for path in pack(chosen.data, chosen.out, limit=int(1e6 * chosen.limit_mb)):
        log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
