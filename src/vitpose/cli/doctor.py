"""``vitpose doctor``: is the installation fit, and is a data set fit to be trained on?"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.core.errors import GateError, InputError

if TYPE_CHECKING:
    from vitpose.data.findings import DoctorReport

app = typer.Typer(
    name="doctor",
    help="Check the installation or, with `doctor data FOLDER`, a data set.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)

_SHOWN = 5


@app.callback()
def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Show versions, devices, engines, which optional parts are installed, and where things are kept."""
    if context.invoked_subcommand is not None:
        return
    from vitpose.pipeline.installation import installation

    found = installation()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for title, part in found.items():
        typer.echo(title if isinstance(part, dict) else f"{title}: {part}")
        for name, value in part.items() if isinstance(part, dict) else ():
            typer.echo(f"  {name}: {value}")


@app.command(name="data")
def data(
    folder: Annotated[
        Path, typer.Argument(help="Folder with annotations, or one annotation file.", show_default=False)
    ],
    images: Annotated[Path | None, typer.Option(help="Folder the picture names are relative to.")] = None,
    kind: Annotated[str, typer.Option(help="How the annotations are written: auto, coco, mpii, aic, …")] = "auto",
    skeleton: Annotated[str | None, typer.Option(help="Skeleton name or .toml file, where the file says none.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Annotation file of another split, to look for shared pictures.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="auto or a detector's id: look for people who are not labelled.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Check labels and pictures before training on them; exits with 6 when something is wrong."""
    from vitpose.data.doctor import check_dataset

    files = annotation_files(folder)
    find_people = _detector(detector) if detector else None
    reports = [
        check_dataset(
            file,
            images,
            kind=kind,
            skeleton=skeleton,
            # Each pair of splits is compared once, where the first of them is checked.
            others=[(other, images if other in files else None) for other in (*files[index + 1 :], *(against or ()))],
            find_people=find_people,
        )
        for index, file in enumerate(files)
    ]
    if as_json:
        typer.echo(json.dumps([report.to_dict() for report in reports], indent=2, ensure_ascii=False))
    else:
        for report in reports:
            _print_report(report)
    failed = [report.source for report in reports if report.failed(strict=strict)]
    if failed:
        what = "errors or warnings" if strict else "errors"
        raise GateError(f"{', '.join(failed)}: {what} were found, see the report")


def annotation_files(folder: Path) -> list[Path]:
    """Return the annotation files to check: the path itself, or what lies in the folder or in its ``annotations``.

    Raises:
        InputError: there are none, or no such path.
    """
    if not folder.exists():
        raise InputError(f"there is no file or folder {folder}")
    if not folder.is_dir():
        return [folder]
    places = [folder, folder / "annotations"]
    found = [path for place in places for path in sorted(place.glob("*.json")) if _is_labelled(path)]
    if not found:
        raise InputError(
            f"{folder} and {folder / 'annotations'} hold no annotation files (*.json with images and annotations)"
        )
    return found


def _is_labelled(path: Path) -> bool:
    """Tell annotations from other JSON that lies beside them, such as detections; what cannot be read is checked."""
    from vitpose.data.readers.checks import read_json

    try:
        content = read_json(path)
    except InputError:
        return True
    if isinstance(content, dict):
        return "annotations" in content
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and ("joints" in first or "keypoint_annotations" in first)


def _detector(name: str) -> Any:
    from vitpose.pipeline.assemble import Search, make_detector

    return make_detector(name, Search(threshold=0.5), device="auto")


def _print_report(report: "DoctorReport") -> None:
    from vitpose.data.findings import CHECKS

    typer.echo(
        f"{report.source}: {report.images} pictures, {report.people} people, {report.trainable} to learn from,"
        f" {report.keypoints} keypoints"
    )
    counts = Counter((finding.severity, finding.check) for finding in report.findings)
    for (severity, check), count in sorted(counts.items()):
        typer.echo(f"  {severity}: {check} ({count}): {CHECKS[check]}")
        _print_first([finding.message for finding in report.of(check)])
    for reason in report.skipped:
        typer.echo(f"  not checked: {reason}")
    if not report.findings:
        typer.echo("  nothing was found")


def _print_first(messages: Sequence[str]) -> None:
    for message in messages[:_SHOWN]:
        typer.echo(f"    {message}")
    if len(messages) > _SHOWN:
        typer.echo(f"    … and {len(messages) - _SHOWN} more (--json lists all)")
