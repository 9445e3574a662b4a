"""How a run of ``vitpose predict`` shows its progress."""

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vitpose.core.poses import Poses
    from vitpose.formats.results import Origin
    from vitpose.media.frames import Frame
    from vitpose.media.sources import Source
    from vitpose.pipeline.summary import Failure

_SECONDS_BETWEEN_LINES = 5.0


def count(number: int, what: str, several: str = "") -> str:
    """Return ``1 picture`` or ``3 pictures``; ``several`` is the plural where an s does not make it."""
    return f"{number} {what}" if number == 1 else f"{number} {several or what + 's'}"


class Steps:
    """Progress of work on many equal things: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, what: str) -> None:
        """Prepare for ``what``, in the plural."""
        self._what = what
        self._bar: Any = None
        self._task: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> "Steps":
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int, total: int) -> None:
        """Say how many of how many are done."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(self._what, total=total)
            self._bar.update(self._task, completed=done)
        elif time.monotonic() - self._said > _SECONDS_BETWEEN_LINES:
            typer.echo(f"{done} of {total} {self._what}", err=True)
            self._said = time.monotonic()


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


class Reporter:
    """Progress: a bar on a terminal, a line a picture elsewhere; documents on stdout when they are asked for."""

    def __init__(self, sources: "Sequence[Source]", *, as_json: bool) -> None:
        """Prepare for ``sources``; with ``as_json`` documents go to stdout."""
        self._films = any(source.kind in ("video", "sequence", "stream") for source in sources)
        self._total = len(sources)
        self._as_json = as_json
        self._bar: Any = None
        self._task: Any = None
        self._last = ""
        self._frames = 0
        self._said = self._begun = time.monotonic()

    def __enter__(self) -> "Reporter":
        if sys.stderr.isatty() and (self._total > 1 or self._films):
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task("poses", total=self._total)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def result(self, origin: "Origin", poses: "Poses") -> None:
        """Print a result if documents are wanted, and name a picture that is done."""
        if self._as_json:
            from vitpose.formats.results import to_document

            typer.echo(json.dumps(to_document(origin, poses), ensure_ascii=False, allow_nan=False))
        if origin.frame is None and self._bar is None:
            typer.echo(f"{origin.source}: {count(len(poses), 'pose')}", err=True)
        self._advance(origin.source)

    def frame(self, frame: "Frame", poses: "Poses") -> None:
        """Say how far a film is and how fast it goes: on the bar, or in a line every few seconds."""
        self._frames += 1
        now = time.monotonic()
        text = (
            f"frame {frame.index} at {frame.time_s:.1f} s, {self._frames / max(now - self._begun, 1e-3):.1f} frames/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, description=f"{text}, {count(len(poses), 'pose')}")
        elif now - self._said > _SECONDS_BETWEEN_LINES:
            typer.echo(text, err=True)
            self._said = now

    def failure(self, failure: "Failure") -> None:
        """Say what failed and why."""
        typer.echo(f"failed: {failure.message}", err=True)
        self._advance(failure.source)

    def _advance(self, source: str) -> None:
        if self._bar is not None and source != self._last:
            self._bar.advance(self._task)
        self._last = source
