"""Put a measured pair into the package: weights, catalogue row, results and page.

python -m scripts.embedded.ship runs/report
"""

import argparse
import json
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.embedded.page import embedded_page

from vitpose.core.errors import InputError, UsageError
from vitpose.core.files import atomic_write_text
from vitpose.weights.catalog import find_model
from vitpose.weights.formats import file_sha256

ROOT = Path(__file__).parents[2]
RESULTS = Path("benchmarks", "results", "embedded_pair.json")
PAGE = Path("docs", "embedded.md")
CATALOG = Path("src", "vitpose", "weights", "catalog.toml")
WEIGHTS = Path("src", "vitpose", "weights", "embedded")


def ship(report: Path, root: Path = ROOT, *, skeletons: bool = True) -> None:
    """Copy a report's files to where the package and its documentation have them.

    Args:
        report: folder of stage 6.
        root: of the repository.
        skeletons: also the sheet of skeletons, which shows no photographs.

    Raises:
        InputError: the report is not whole, or its files are not those that were measured.
        UsageError: the files are too large to come with the package.
    """
    try:
        results: dict[str, Any] = json.loads((report / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{report} holds no results of stage 6: {error}") from error
    if not results["fits"]:
        raise UsageError(f"the pair in {report} is too large to come with the package")
    for name, facts in results["files"].items():
        if not (report / name).is_file() or file_sha256(report / name) != facts["sha256"]:
            raise InputError(f"{report / name} is not the file that was measured: run stage 6 again")
    (root / WEIGHTS).mkdir(parents=True, exist_ok=True)
    for name in results["files"]:
        shutil.copyfile(report / name, root / WEIGHTS / name)
    pose = results["files"][find_model("embedded").packaged]
    text = (root / CATALOG).read_text(encoding="utf-8")
    atomic_write_text(root / CATALOG, described(text, pose["sha256"], pose["bytes"]))
    atomic_write_text(root / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
    atomic_write_text(root / PAGE, embedded_page(results))
    if skeletons:
        shutil.copyfile(report / "skeletons.png", root / "docs" / "embedded.png")


def described(catalog: str, sha256: str, size: int) -> str:
    """Return the catalogue's text with hash and size of the embedded model in its row.

    Raises:
        InputError: the row is not there.
    """
    name = find_model("embedded").packaged
    row = re.search(rf'^packaged = "{re.escape(name)}"\n(?:sha256 = .*\n)?(?:size_mb = .*\n)?', catalog, re.MULTILINE)
    if row is None:
        raise InputError(f"the catalogue has no row with packaged = {name!r}")
    facts = f'packaged = "{name}"\nsha256 = "{sha256}"\nsize_mb = {size / 1e6:.1f}\n'
    return catalog[: row.start()] + facts + catalog[row.end() :]


def main(given: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = argparse.ArgumentParser(description="Put a measured pair into the package.")
    options.add_argument("report", type=Path, help="folder of stage 6")
    arguments = options.parse_args(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ship(arguments.report)
    logging.getLogger("embedded").info("weights, catalogue, %s and %s are written: run the tests", RESULTS, PAGE)


if __name__ == "__main__":
    main()
