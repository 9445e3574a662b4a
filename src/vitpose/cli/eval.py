"""``vitpose eval``: a model measured on labelled pictures."""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.cli.places import refuse_inputs
from vitpose.cli.values import numbers
from vitpose.core.errors import GateError, UsageError, nearest

if TYPE_CHECKING:
    from vitpose.data.records import LabelledSet
    from vitpose.evaluation.result import EvaluationResult
    from vitpose.metrics.bootstrap import Interval
    from vitpose.pipeline.estimator import PoseEstimator

_LOWER_IS_BETTER = ("epe", "nme", "calibration_error")


def evaluate(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Labels: a COCO-style JSON file, its folder, or KIND:FILE.", show_default=False
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name from `vitpose models`, hub id, file or folder, random:NAME.")
    ] = "vitpose-b",
    boxes: Annotated[
        str, typer.Option(help="gt (the labelled boxes), detector, or a file: COCO detections, JSON by file name, CSV.")
    ] = "gt",
    images: Annotated[Path | None, typer.Option(help="Folder the labels' picture names are relative to.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Head of a model with several, for instance ap10k.")] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton name or .toml file of the labels, where they do not say.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="With --boxes detector: auto, whole, or a Hugging Face detector's id or folder.")
    ] = "auto",
    flip_test: Annotated[
        bool, typer.Option("--flip-test/--no-flip-test", help="Average with the mirrored crop, as the papers do.")
    ] = True,
    refine: Annotated[bool, typer.Option("--refine", help="Second pass on the box of the first pose.")] = False,
    scales: Annotated[str, typer.Option(help="Look at everybody at several scales, e.g. 0.8,1,1.25.")] = "1",
    metrics: Annotated[
        str | None, typer.Option(help="Groups of metrics, for instance oks,pck; all the labels allow by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    against: Annotated[str | None, typer.Option(help="Another model to compare with, on the same pictures.")] = None,
    fail_under: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="Exit with 6 when it is lower; repeatable.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a page with tables, plots and worst cases.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for all numbers, JSON.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="File for the poses as COCO results.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a model call.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as one JSON document on stdout.")] = False,
) -> None:
    """Measure a model on labelled pictures: OKS AP and AR, PCK, calibration, and what the labels allow besides."""
    gates, sizes = _gates(fail_under or []), numbers(scales, "--scales")
    if boxes not in ("gt", "detector") and not Path(boxes).is_file():
        raise UsageError(f"--boxes {boxes!r} is neither gt, detector nor a file")
    kind, path = _kind_and_file(labels)
    places = _check_places(report, out, predictions)
    refuse_inputs(places, [path, boxes, model, against, detector])
    from vitpose.data.readers.read import read_labelled
    from vitpose.evaluation.run import evaluate as run
    from vitpose.pipeline.assemble import load
    from vitpose.pipeline.options import Options

    Options(scales=sizes)  # what cannot be is refused before anything slow begins
    labelled = read_labelled(kind, path, images, skeleton=skeleton)
    refuse_inputs(places, (entry.path for entry in labelled.images))
    groups = [group.strip() for group in metrics.split(",")] if metrics else None
    _check_names(gates, labelled, groups, limit, given=boxes == "gt")

    def measure(name: str) -> "EvaluationResult":
        estimator: PoseEstimator = load(
            name,
            dataset=dataset,
            detector=detector if boxes == "detector" else None,
            device=device,
            batch_size=batch_size,
            flip_test=flip_test,
            refine=refine,
            scales=sizes,
            engine="eager",  # a measurement must repeat; "auto" may change engines on the way
        )
        with _Progress(name) as progress:
            return run(estimator, labelled, boxes=boxes, metrics=groups, limit=limit, progress=progress)

    result = measure(model)
    comparison = None if against is None else _compared(measure(against), result)
    from vitpose.evaluation.report import document_of

    document = document_of(result, comparison)
    # Printed first: a file that cannot be written takes no numbers with it.
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))
    else:
        _print(result, comparison)
    _write(result, comparison, document, report=report, out=out, predictions=predictions)
    _check(gates, result.numbers)


def _kind_and_file(text: str) -> tuple[str, str]:
    """Split ``KIND:FILE``; a plain file's kind is told from its content."""
    from vitpose.data.readers.read import KINDS

    kind, colon, path = text.partition(":")
    if colon and kind not in KINDS and not Path(text).exists() and len(kind) > 1:
        raise UsageError(f"{text!r}: unknown kind of labels {kind!r}{nearest(kind, KINDS)}")
    if Path(text).is_dir():
        from vitpose.training.finetune import find_labels

        found = find_labels(Path(text))
        return "auto", str(found.validation or found.train)
    return (kind, path) if colon and kind in KINDS else ("auto", text)


def _compared(
    other: "EvaluationResult", result: "EvaluationResult"
) -> tuple["EvaluationResult", dict[str, "Interval"]]:
    from vitpose.evaluation.run import compare

    return other, compare(other, result)


def _write(
    result: "EvaluationResult",
    comparison: tuple["EvaluationResult", dict[str, "Interval"]] | None,
    document: dict[str, Any],
    *,
    report: Path | None,
    out: Path | None,
    predictions: Path | None,
) -> None:
    """Write what was asked for."""
    from vitpose.core.files import atomic_write_text
    from vitpose.evaluation.report import write_report

    if out is not None:
        atomic_write_text(out, json.dumps(document, indent=1, allow_nan=False) + "\n")
    if predictions is not None:
        atomic_write_text(predictions, json.dumps(result.predictions) + "\n")
    if report is not None:
        typer.echo(f"report -> {write_report(result, report, against=comparison)}", err=True)


def _check_places(report: Path | None, out: Path | None, predictions: Path | None) -> dict[str, Path]:
    """Refuse what could not be written after the work, before it; return what will be, by option."""
    from vitpose.core.extras import require
    from vitpose.core.files import check_place

    places = {"--out": out, "--predictions": predictions}
    if report is not None:
        require("matplotlib", "train", "the plots of a report")
        pages = "index.html", "results.json", "predictions.json"
        places |= {f"{name} of --report,": report / name for name in pages}
    chosen = {name: place for name, place in places.items() if place is not None}
    for place in chosen.values():
        check_place(place)
    return chosen


def _print(result: "EvaluationResult", comparison: tuple["EvaluationResult", dict[str, "Interval"]] | None) -> None:
    typer.echo(result.protocol.text, err=True)
    width = max(map(len, result.numbers))
    for name, value in result.numbers.items():
        shown = "undefined" if not math.isfinite(value) else f"{value:.4f}"
        typer.echo(f"{name:<{width}}  {shown}")
    if comparison is None:
        return
    typer.echo(f"against {comparison[0].protocol.model.name}:", err=True)
    for name, found in comparison[1].items():
        sure = "" if found.certain else "  (could be luck)"
        typer.echo(
            f"{name:<{width}}  {found.difference:+.4f}  {100 * found.level:.0f} % interval"
            f" {found.low:+.4f} to {found.high:+.4f}{sure}"
        )


def _gates(texts: list[str]) -> dict[str, float]:
    """Read ``["ap=0.7"]``."""
    gates: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        name = name.strip()
        try:
            gates[name] = float(number)
        except ValueError:
            raise UsageError(f"--fail-under {text!r} is not METRIC=VALUE, for instance ap=0.7") from None
        if not name or not 0 <= gates[name] <= 1:
            raise UsageError(f"--fail-under {text!r}: name a metric and a share between 0 and 1, for instance ap=0.7")
        if name.casefold().startswith(_LOWER_IS_BETTER):
            raise UsageError(f"--fail-under {text!r}: {name} is better when it is lower")
    return gates


def _check_names(
    gates: Mapping[str, float], labelled: "LabelledSet", groups: list[str] | None, limit: int | None, *, given: bool
) -> None:
    """Refuse a gate on a number that no evaluation of the set gives, before the work.

    One in which nobody is found has the same numbers, but those of species, which a detector's boxes do not tell apart.
    """
    if not gates or not any(record.labelled for record in labelled.records):
        return
    from vitpose.core.geometry import Size
    from vitpose.core.poses import Poses
    from vitpose.evaluation.people import coco_labels, gather, pictures_of
    from vitpose.evaluation.scores import Material, work_out
    from vitpose.metrics.table import build_table

    pictures = pictures_of(labelled, limit, with_people=given)
    nobody = [Poses.empty(labelled.skeleton, Size(1, 1))] * len(pictures)
    people = gather(labelled, pictures, nobody, labelled.skeleton, given=False)
    labels = coco_labels(labelled, pictures, people.skeleton_indices)
    material = Material(
        labelled=labelled,
        skeleton=labelled.skeleton,
        people=people,
        labels=labels,
        results=[],
        table=build_table(labels, [], sigmas=people.sigmas),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of means of nothing
        known = [name for name in work_out(material, groups) if given or not name.startswith("ap/")]
    for name in gates:
        _known(name, known)


def _known(name: str, measured: Iterable[str]) -> str:
    """Return the name of a number in whatever case it was given."""
    found = {known.casefold(): known for known in measured}.get(name.casefold())
    if found is None:
        raise UsageError(f"--fail-under names {name!r}, which is not measured{nearest(name, measured)}")
    return found


def _check(gates: Mapping[str, float], numbers: Mapping[str, float]) -> None:
    low = []
    for name, limit in gates.items():
        known = _known(name, numbers)
        if not numbers[known] >= limit:
            low.append(f"{known} is {numbers[known]:.4f}, below {limit:g}")
    if low:
        raise GateError("; ".join(low))


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack = ExitStack()

    def __enter__(self) -> Callable[[int, int], None]:
        if not sys.stderr.isatty():
            return lambda _done, _total: None
        from rich.console import Console
        from rich.progress import Progress

        bar = self._stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        task = bar.add_task(self._name, total=None)
        return lambda done, total: bar.update(task, completed=done, total=total)

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()
