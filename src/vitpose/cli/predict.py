"""``vitpose predict``: pictures and videos in, poses out."""

import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.core.errors import InputError, UsageError, nearest

if TYPE_CHECKING:
    from vitpose.core.poses import Poses
    from vitpose.formats.results import Origin
    from vitpose.media.sources import Source
    from vitpose.pipeline.predict import Failure, Summary

DEFAULT_MODEL = "vitpose-b"

_SECONDS_BETWEEN_LINES = 5.0

_SOURCES = typer.Argument(help="Pictures, folders, globs, .txt lists, URLs, videos.", show_default=False)


def predict(
    sources: Annotated[list[str], _SOURCES],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name from `vitpose models`, hub id, file or folder, random:NAME.")
    ] = DEFAULT_MODEL,
    dataset: Annotated[
        str | None, typer.Option(help="Head of a model with several, for instance ap10k for animals.")
    ] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton name or .toml file, where the weights do not say.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="auto, whole (the picture is the box), or a Hugging Face detector's id or folder.")
    ] = "auto",
    boxes: Annotated[
        Path | None, typer.Option(help="Boxes from a file instead of a detector: COCO JSON, {file: [xyxy]} or CSV.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="What to look for, for instance dog,horse,cow.")] = None,
    box_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score a box needs; 0.3 for a detector, all boxes of a file.")
    ] = None,
    max_people: Annotated[int | None, typer.Option(min=1, help="Keep only the best boxes of a picture.")] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="Keypoint score that counts as seen: 0.3, or left_wrist=0.5; repeatable.")
    ] = None,
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored crop.")] = False,
    refine: Annotated[bool, typer.Option("--refine", help="Second pass on the box of the first pose.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, eager, compiled, onnxruntime, openvino.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a model call.")] = 32,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take sub-folders too.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("poses"),
    format_: Annotated[
        str, typer.Option("--format", "-f", help="Any of json,overlay,coco,csv,parquet; or none.")
    ] = "json,overlay",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a picture on stdout.")] = False,
) -> None:
    """Find the people (or animals) in pictures and videos and the keypoints of each."""
    formats = _formats(format_)
    # Slow imports come after the arguments are known to be sound.
    from vitpose.detectors.given import GivenBoxes
    from vitpose.media.sources import expand_sources
    from vitpose.pipeline.assemble import load
    from vitpose.pipeline.predict import Failure, Listeners, predict_sources

    if boxes is not None and (detector != "auto" or max_people is not None):
        raise UsageError("--boxes brings its own boxes: leave out --detector and --max-people")
    missing: list[Failure] = []
    found = expand_sources(
        sources, recursive=recursive, missing=lambda text, error: missing.append(Failure(text, str(error)))
    )
    wanted = [name.strip() for name in classes.split(",")] if classes else None
    given = None if boxes is None else GivenBoxes.from_file(boxes, classes=wanted, threshold=box_threshold or 0.0)
    if given is not None and found:
        given.check_sources([source.location for source in found])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stopped container keeps what is finished
    estimator = load(
        model,
        dataset=dataset,
        skeleton=skeleton,
        detector=None if given is not None else detector,
        engine=engine,
        device=device,
        flip_test=flip_test,
        refine=refine,
        threshold=_thresholds(threshold or []),
        classes=wanted,
        box_threshold=0.3 if box_threshold is None else box_threshold,
        max_people=max_people,
        batch_size=batch_size,
    )
    if "overlay" in formats and any(source.kind == "video" for source in found):
        typer.echo("overlays are drawn for pictures; videos give one JSON line a frame", err=True)
    with _Reporter(found, as_json=as_json) as reporter:
        for failure in missing:
            reporter.failure(failure)
        summary = predict_sources(
            estimator,
            found,
            out=out if formats else None,
            formats=formats,
            given=given,
            listeners=Listeners(result=reporter.result, failure=reporter.failure),
        )
    summary.failures[:0] = missing
    _finish(summary, out if formats else None)


def _formats(text: str) -> tuple[str, ...]:
    known = ("json", "overlay", "coco", "csv", "parquet")
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if chosen == ("none",):
        return ()
    for name in chosen:
        if name not in known:
            raise UsageError(f"unknown format {name!r}{nearest(name, known)}")
    return chosen


def _thresholds(texts: list[str]) -> Any:
    """Read ``["0.3", "left_wrist=0.5"]`` as a default and exceptions by keypoint name."""
    values: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            values[name or "*"] = float(number)
        except ValueError:
            raise UsageError(f"threshold {text!r} is neither a number nor NAME=NUMBER") from None
    return values if set(values) - {"*"} else values.get("*", 0.3)


def _finish(summary: "Summary", out: Path | None) -> None:
    where = f" -> {out}/" if out is not None else ""
    typer.echo(f"{_count(summary.pictures, 'picture')}, {_count(summary.people, 'pose')}{where}", err=True)
    if summary.failures:
        typer.echo(f"{len(summary.failures)} failed, named above", err=True)
    if summary.interrupted:
        typer.echo("interrupted: what was finished until then is written", err=True)
        raise typer.Exit(130)
    if summary.failures:
        raise typer.Exit(4 if summary.pictures else InputError.exit_code)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class _Reporter:
    """Progress: a bar on a terminal, a line a picture elsewhere; documents on stdout when they are asked for."""

    def __init__(self, sources: "Sequence[Source]", *, as_json: bool) -> None:
        self._videos = any(source.kind == "video" for source in sources)
        self._total = len(sources)
        self._as_json = as_json
        self._bar: Any = None
        self._task: Any = None
        self._last = ""
        self._said = time.monotonic()

    def __enter__(self) -> "_Reporter":
        if sys.stderr.isatty() and (self._total > 1 or self._videos):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("poses", total=self._total)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def result(self, origin: "Origin", poses: "Poses") -> None:
        if self._as_json:
            from vitpose.formats.results import to_document

            typer.echo(json.dumps(to_document(origin, poses), ensure_ascii=False, allow_nan=False))
        if origin.frame is not None:
            self._frame(origin)
        elif self._bar is None:
            typer.echo(f"{origin.source}: {_count(len(poses), 'pose')}", err=True)
        self._advance(origin.source)

    def _frame(self, origin: "Origin") -> None:
        """Say how far a video is: on the bar, or in a line every few seconds."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"frame {origin.frame}")
        elif time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            typer.echo(f"{origin.source}: frame {origin.frame}, {origin.time_s:.1f} s", err=True)
            self._said = time.monotonic()

    def failure(self, failure: "Failure") -> None:
        typer.echo(f"failed: {failure.message}", err=True)
        self._advance(failure.source)

    def _advance(self, source: str) -> None:
        if self._bar is not None and source != self._last:
            self._bar.advance(self._task)
        self._last = source
