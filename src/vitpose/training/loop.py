"""The one loop for every objective: steps, evaluations, saves, and an orderly end whenever it comes."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Literal, Protocol

import torch
from torch import nn

from vitpose.core.errors import VitPoseError
from vitpose.core.skeleton import Skeleton
from vitpose.data.batch import Batch
from vitpose.training.config import RunConfig
from vitpose.training.ema import Ema
from vitpose.training.logs import Display, RunLog
from vitpose.training.optim import lr_factor, set_lr, train_mode
from vitpose.training.processes import any_process
from vitpose.training.state import Progress, RunFolder, save_state
from vitpose.training.step import BadLossError, Stepper, StepResult
from vitpose.weights.checkpoint import save_checkpoint

Ending = Literal["finished", "stopped early", "interrupted"]


class Batches(Protocol):
    """Where batches come from; the batch of a step follows from the run's seed and the step alone."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""

    def stream(self, first: int, last: int) -> Iterator[Batch]:
        """Yield this process's share of the batches of steps ``first`` to ``last - 1``, on the training device."""

    def name_of(self, record: int) -> str:
        """Say which picture and person a record is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything the loop needs.

    Attributes:
        config: of the run.
        folder: where it writes.
        objective: the module that is trained, not wrapped; its ``model`` is what is kept.
        stepper: does optimiser steps.
        optimizer: the plain optimiser.
        ema: averaged weights, or None.
        batches: where the batches come from.
        evaluate: returns the validation numbers, ``score`` among them (higher is better); None without validation.
        skeletons: of the model's heads by dataset.
        log: None in all processes but the first.
        display: shows progress.
    """

    config: RunConfig
    folder: RunFolder
    objective: nn.Module
    stepper: Stepper
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    batches: Batches
    evaluate: Callable[[], Mapping[str, float]] | None
    skeletons: Mapping[str, Skeleton]
    log: RunLog | None
    display: Display

    @property
    def is_main(self) -> bool:
        """Say whether this process writes files."""
        return bool(self.stepper.accelerator.is_main_process)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended and where it was then."""

    ending: Ending
    progress: Progress


def run_loop(job: Job, progress: Progress) -> Outcome:
    """Train from ``progress`` to the end of the schedule, an early stop, or a signal.

    Raises:
        VitPoseError: a loss that is not finite (its records are named; what was saved before stays as it is), or a
            file that cannot be written.
    """
    schedule, per_epoch = job.config.schedule, job.batches.steps_per_epoch
    total = schedule.epochs * per_epoch
    ending: Ending = "finished"
    meter = _Meter(job)
    job.display.start(progress.step, total)
    try:
        with _signals() as stopped:
            if _ran_out(progress, schedule.patience):
                return Outcome("stopped early", progress)
            train_mode(job.objective)
            for step, batch in enumerate(job.batches.stream(progress.step, total), start=progress.step):
                result = _step(job, batch, step, per_epoch)
                progress = replace(progress, step=step + 1, micro_batch=job.stepper.micro_batch)
                meter.add(result, progress.step)
                progress, saved = _epoch_end(job, progress, per_epoch, meter)
                interrupted = any_process(job.stepper.accelerator, bool(stopped))
                if not saved and (interrupted or progress.step % job.config.loop.save_every == 0):
                    save(job, progress)
                if interrupted:
                    ending = "interrupted"
                    break
                if _ran_out(progress, schedule.patience):
                    ending = "stopped early"
                    break
    finally:
        job.display.stop()
    return Outcome(ending, progress)


def _ran_out(progress: Progress, patience: int) -> bool:
    return patience > 0 and progress.waited >= patience


def _step(job: Job, batch: Batch, step: int, per_epoch: int) -> StepResult:
    set_lr(job.optimizer, job.config.optim.lr * lr_factor(step, per_epoch, job.config.schedule))
    try:
        result = job.stepper(batch, step)
    except BadLossError as error:
        raise VitPoseError(_describe_bad(job, error)) from error
    if job.ema is not None:
        job.ema.update()
    return result


def _describe_bad(job: Job, error: BadLossError) -> str:
    names = [job.batches.name_of(record) for record in error.records[:8]]
    more = f" and {len(error.records) - 8} more" if len(error.records) > 8 else ""
    batch = f"; it was computed from {', '.join(names)}{more}" if names else ""
    kept = f"{job.folder.state} is as it was" if job.folder.state.exists() else "no state had been saved yet"
    return f"{error}{batch}. Training stopped, {kept}: check these labels and pictures, or lower optim.lr"


def _epoch_end(job: Job, progress: Progress, per_epoch: int, meter: "_Meter") -> tuple[Progress, bool]:
    """At the end of an epoch that asks for it: evaluate, keep the best, save. Say whether the state was saved."""
    epoch, rest = divmod(progress.step, per_epoch)
    last = epoch == job.config.schedule.epochs
    if rest or not (last or epoch % job.config.loop.evaluate_every == 0):
        return progress, False
    if job.evaluate is not None:
        with contextlib.nullcontext() if job.ema is None else job.ema.applied():
            job.objective.eval()
            values = job.evaluate()
        train_mode(job.objective)
        progress, best = progress.judged(values["score"])
        meter.evaluated(progress, values)
        if best:
            _write_checkpoint(job, progress, "best")
    save(job, progress)
    return progress, True


def save(job: Job, progress: Progress) -> None:
    """Write ``last.safetensors`` and then the state; the first process does it.

    Raises:
        VitPoseError: a file cannot be written; the one before it is kept.
    """
    _write_checkpoint(job, progress, "last")
    if job.is_main:
        scaler = job.stepper.accelerator.scaler
        parts: dict[str, Any] = {
            "objective": kept_state(job.objective),
            "optimizer": job.optimizer.state_dict(),
            "ema": None if job.ema is None else job.ema.state(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        save_state(job.folder.state, progress, parts)
    job.stepper.accelerator.wait_for_everyone()


def restore(job: Job, parts: Mapping[str, Any]) -> None:
    """Put back what ``save`` wrote, to the last bit.

    Raises:
        VitPoseError: it belongs to another model or optimiser.
    """
    try:
        missing, unexpected = job.objective.load_state_dict(parts["objective"], strict=False)
    except RuntimeError as error:  # other shapes
        what = str(error).splitlines()[-1].strip()
        raise VitPoseError(f"{job.folder.state} belongs to another model: {what}") from error
    own = kept_state(job.objective)
    if unexpected or any(name in own for name in missing):
        raise VitPoseError(
            f"{job.folder.state} belongs to another model: {sorted(unexpected + missing)[:3]} do not fit"
        )
    # What the state has besides momenta are the settings it was written under; those of now count.
    settings = [{key: value for key, value in group.items() if key != "params"} for group in job.optimizer.param_groups]
    try:
        job.optimizer.load_state_dict(parts["optimizer"])
    except (ValueError, KeyError) as error:
        raise VitPoseError(
            f"{job.folder.state} belongs to another optimiser ({error}): optim.kind and what is frozen must stay"
        ) from error
    for group, own in zip(job.optimizer.param_groups, settings, strict=True):
        group.update(own)
    if job.ema is not None and parts["ema"] is not None:
        job.ema.load(parts["ema"])
    if job.stepper.accelerator.scaler is not None and parts["scaler"] is not None:
        job.stepper.accelerator.scaler.load_state_dict(parts["scaler"])


def kept_state(objective: nn.Module) -> dict[str, torch.Tensor]:
    """Return the state of an objective without its teacher, which is read from its own file again."""
    return {name: value for name, value in objective.state_dict().items() if not name.startswith("teacher.")}


def _write_checkpoint(job: Job, progress: Progress, which: Literal["last", "best"]) -> None:
    if not job.is_main:
        return
    path = job.folder.best if which == "best" else job.folder.last
    metadata = {
        "run": job.config.name,
        "objective": job.config.objective.kind,
        "step": progress.step,
        "epoch": progress.step / job.batches.steps_per_epoch,
        "score": progress.best_score if which == "best" else None,
        "averaged": job.ema is not None,
        "config": job.config.to_toml(),
    }
    token = getattr(job.objective, "token", None)
    if job.config.objective.kind == "knowledge-token" and token is not None:
        metadata["token"] = token.detach().float().flatten().tolist()
    with contextlib.nullcontext() if job.ema is None else job.ema.applied():
        save_checkpoint(path, job.objective.model, job.skeletons, metadata)  # type: ignore[arg-type] # objectives have one


class _Meter:
    """Averages the numbers of the steps between two lines of the log."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._since = (time.monotonic(), 0)
        self._score: dict[str, float] = {}

    def add(self, result: StepResult, step: int) -> None:
        """Take in one step; write a line when it is time."""
        config = self._job.config
        for name, value in {"loss": result.loss, "grad_norm": result.grad_norm, **result.logs}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        began, steps = self._since
        self._since = (began, steps + 1)
        line = {name: total / self._counts[name] for name, total in self._sums.items()}
        line["lr"] = max(float(group["lr"]) for group in self._job.optimizer.param_groups)
        line["people_per_s"] = (steps + 1) * config.loop.batch_size / max(time.monotonic() - began, 1e-9)
        line["epoch"] = step / self._job.batches.steps_per_epoch
        self._job.display.step(step, line | self._score)
        if step % config.loop.log_every == 0:
            if self._job.log is not None:
                self._job.log.write(step, line)
            self._sums, self._counts, self._since = {}, {}, (time.monotonic(), 0)

    def evaluated(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write the validation numbers; the time they took does not count as training."""
        self._score = {"score": values["score"]}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
        star = "  (best)" if progress.waited == 0 else ""
        epoch = progress.step // self._job.batches.steps_per_epoch
        self._job.display.say(f"epoch {epoch}: {shown}{star}")
        if self._job.log is not None:
            self._job.log.write(progress.step, {f"validation/{name}": value for name, value in values.items()})
        self._sums, self._counts, self._since = {}, {}, (time.monotonic(), 0)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield a list that fills when SIGTERM or SIGINT comes; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
