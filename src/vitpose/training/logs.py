"""What a run writes down while it goes: ``metrics.jsonl`` and TensorBoard, and what it shows: a bar or plain lines."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from vitpose.core.extras import require


class Display(Protocol):
    """Shows a run to whoever waits for it."""

    def start(self, done: int, total: int) -> None:
        """Steps done before and steps in all."""

    def step(self, step: int, line: Mapping[str, float]) -> None:
        """One step is done; ``line`` has its numbers."""

    def say(self, text: str) -> None:
        """Something worth a line."""

    def stop(self) -> None:
        """The run is over."""


class Quiet:
    """Shows nothing."""

    def start(self, done: int, total: int) -> None:
        """Do nothing."""

    def step(self, step: int, line: Mapping[str, float]) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class PlainLines:
    """A line now and then, for logs and pipes."""

    def __init__(self, stream: TextIO, *, every_s: float = 10.0) -> None:
        """Write to ``stream``, at most one progress line in ``every_s`` seconds."""
        self._stream = stream
        self._every_s = every_s
        self._shown = float("-inf")
        self._total = 0
        self._clock = (0.0, 0)

    def start(self, done: int, total: int) -> None:
        """Remember where the run starts, for the time left."""
        self._total = total
        self._clock = (time.monotonic(), done)

    def step(self, step: int, line: Mapping[str, float]) -> None:
        """Write a line if the last one is long enough ago."""
        now = time.monotonic()
        if now - self._shown < self._every_s and step < self._total:
            return
        self._shown = now
        began, done = self._clock
        left = (now - began) / max(step - done, 1) * (self._total - step)
        self.say(f"step {step}/{self._total}  {describe(line)}  {clock(left)} left")

    def say(self, text: str) -> None:
        """Write a line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def stop(self) -> None:
        """Do nothing."""


class Bar:
    """A progress bar with loss, learning rate, people a second, time left and the last score, for terminals."""

    def __init__(self) -> None:
        """Draw on standard error."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task: Any = None

    def start(self, done: int, total: int) -> None:
        """Draw the bar."""
        self._progress.start()
        self._task = self._progress.add_task("train", total=total, completed=done, numbers="")

    def step(self, step: int, line: Mapping[str, float]) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step, numbers=describe(line))

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


def make_display(stream: TextIO = sys.stderr) -> Display:
    """Return a bar on a terminal and plain lines elsewhere."""
    return Bar() if stream.isatty() else PlainLines(stream)


def describe(line: Mapping[str, float]) -> str:
    """Return the numbers of a step in a few words."""
    shown = (
        ("loss", "loss {:.5f}"),
        ("lr", "lr {:.1e}"),
        ("people_per_s", "{:.0f} people/s"),
        ("score", "score {:.4f}"),
    )
    return "  ".join(form.format(line[name]) for name, form in shown if name in line)


def clock(seconds: float) -> str:
    """Return a length of time as ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class RunLog:
    """Appends to ``metrics.jsonl`` and to TensorBoard; lines are flushed one by one, so a kill costs at most one."""

    def __init__(self, metrics: Path, tensorboard: Path, *, start_step: int) -> None:
        """Open both.

        Args:
            metrics: the JSON lines file.
            tensorboard: folder for event files; what it shows from ``start_step`` on is replaced.
            start_step: steps done before.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        require("tensorboard", "train", "logging a training run")
        from torch.utils.tensorboard import SummaryWriter

        self._lines = metrics.open("a", encoding="utf-8")
        self._board: Any = SummaryWriter(str(tensorboard), purge_step=start_step + 1 if start_step else None)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one line; its numbers go to TensorBoard, too."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close both."""
        self._lines.close()
        self._board.close()
