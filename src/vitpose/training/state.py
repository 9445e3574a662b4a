"""A run's folder and the state in it: written whole or not at all, so that a run may be killed at any moment.

``state.pt`` holds everything a run needs to go on: one file, so that its parts always belong together. Randomness is
not in it, for it follows from seed and step (``step.seed_step``); nor is the schedule, a function of the step.
"""

import contextlib
import json
import math
import pickle
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.core.files import atomic_path, atomic_write_text, held_alone
from vitpose.training.config import RunConfig
from vitpose.training.recipe import load_config
from vitpose.training.settings import differences, to_plain

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        step: optimiser steps done.
        best_score: the best validation score so far, or None.
        best_step: step it was seen at.
        waited: evaluations since then.
        micro_batch: what out of memory has made of ``loop.micro_batch``.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    waited: int = 0
    micro_batch: int = 0

    def judged(self, score: float) -> tuple["Progress", bool]:
        """Return the progress after an evaluation, and whether it was the best so far; what is not a number is not."""
        if not math.isnan(score) and (self.best_score is None or score > self.best_score):
            return replace(self, best_score=score, best_step=self.step, waited=0), True
        return replace(self, waited=self.waited + 1), False


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names of the files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def state(self) -> Path:
        """Everything needed to go on."""
        return self.path / "state.pt"

    @property
    def skeleton(self) -> Path:
        """The skeleton of the labels, where fine-tuning took it from them."""
        return self.path / "skeleton.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """Checkpoint of the last save."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """Checkpoint with the best validation score."""
        return self.path / "best.safetensors"

    def open(self, config: RunConfig, *, resume: bool, force: bool) -> bool:
        """Make the folder ready and say whether there is a state to go on from.

        Raises:
            UsageError: there is a run already and ``resume`` was not asked for, or the configuration has changed and
                ``force`` was not given; the changes are listed.
        """
        self.check_free(resume=resume)
        text = config.to_toml()
        if self.config.exists():
            # Complete before they are compared: what has a default now may not have existed when the run began.
            changes = differences(to_plain(load_config(self.config)), to_plain(config))
            if changes and not force:
                listed = "\n  ".join(changes)
                raise UsageError(
                    f"{self.path} was run with other settings:\n  {listed}\nadd --force to go on with the new ones, or"
                    " give another --out"
                )
        for left in self.path.glob(".part-*"):
            left.unlink(missing_ok=True)
        atomic_write_text(self.config, text)
        return self.state.exists()

    def held_alone(self) -> contextlib.AbstractContextManager[None]:
        """Hold the folder against other processes that would train in it, see ``core.files.held_alone``.

        Raises:
            UsageError: one does.
        """
        place = self.path.absolute()
        return held_alone(
            place.with_name(f".{place.name}.lock"),
            f"another process is training in {self.path}: wait until it has ended, or give another --out",
        )

    def check_free(self, *, resume: bool) -> None:
        """Refuse a folder with a run in it, unless that is to go on.

        Raises:
            UsageError: there is a run already.
        """
        if self.config.exists() and not resume:
            raise UsageError(f"{self.path} already holds a run: add --resume to go on with it, or give another --out")

    def forget(self) -> None:
        """Remove what a run that did not get anywhere has written, so that the next one may have the folder.

        A run with a state or with a line of metrics has got somewhere, and stays.
        """
        if self.state.exists() or (self.metrics.exists() and self.metrics.stat().st_size):
            return
        for path in (self.config, self.metrics, self.path / "versions.json", self.skeleton):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: somebody else's files
            self.path.rmdir()

    def trim_metrics(self, step: int) -> None:
        """Drop the lines of steps that will be done again."""
        if not self.metrics.exists():
            return
        kept = [line for line in self.metrics.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        atomic_write_text(self.metrics, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    """Return the step of a line; a line that was cut off by a kill belongs to no step that is kept."""
    try:
        return float(json.loads(line).get("step", 0))
    except ValueError:
        return float("inf")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` when all went well.

    Raises:
        VitPoseError: it could not be written, for instance because the disk is full; ``path`` is as it was.
    """
    try:
        with atomic_path(path) as temporary:
            yield temporary
    except RuntimeError as error:  # PyTorch's writer reports a full disk this way
        raise VitPoseError(f"cannot write {path}: {str(error).splitlines()[0]}; the previous file was kept") from error


def save_state(path: Path, progress: Progress, parts: Mapping[str, Any]) -> None:
    """Write ``progress`` and the state dictionaries ``parts``.

    Raises:
        VitPoseError: it could not be written; the previous state is kept.
    """
    with writing(path) as temporary:
        torch.save({"format": FORMAT, "progress": asdict(progress), **parts}, temporary)


def load_state(path: Path) -> tuple[Progress, dict[str, Any]]:
    """Read what ``save_state`` wrote, onto the CPU.

    Raises:
        InputError: the file is damaged or of another version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("format") != FORMAT:
            raise InputError(f"{path} was written by another version of this package")
        return Progress(**state.pop("progress")), state
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
