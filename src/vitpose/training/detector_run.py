"""Training of the person detector: the pose trainer's schedule, optimiser, average and state, over whole pictures.

The pose loop is about crops and heads and keeps pose checkpoints; this one shares every part of it that is not.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.files import atomic_write_text
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.training.config import OptimConfig, ScheduleConfig
from vitpose.training.detector_data import PictureBatch, ResidentPictures
from vitpose.training.detector_loss import PersonLoss
from vitpose.training.ema import Ema
from vitpose.training.logs import Display, Quiet, RunLog
from vitpose.training.optim import lr_factor, make_optimizer, set_lr, trainable
from vitpose.training.processes import any_process, join_processes, told_by_first
from vitpose.training.settings import build
from vitpose.training.state import Progress, RunFolder, load_state, save_state
from vitpose.training.step import seed_step
from vitpose.weights.detector import save_detector, start_detector

Scores = Mapping[str, float]

SPEC = DetectorSpec()
OPTIM = OptimConfig(lr=2e-3, weight_decay=0.05, clip_norm=10.0, ema=0.9998)
SCHEDULE = ScheduleConfig(kind="cosine", epochs=300, warmup_steps=300, warmup_ratio=0.01, milestones=(), floor=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """A run of the detector.

    Attributes:
        spec: the network.
        optim: see ``training.config``.
        schedule: see ``training.config``; patience is not looked at.
        batch_size: pictures a step.
        seed: all randomness follows from it and the step.
        precision: ``fp32`` or ``bf16``.
        compile: compile the network.
        parts: weight of the loss of body parts; see ``detector_parts``.
        start: a detector of the same spec to go on from, or a pose model whose convolutional stem is the network's
            first three stages; nothing by default.
        growth: part of the run up to which pictures are of a smaller side, and that side, in order.
        evaluate_every: epochs between evaluations.
        save_every: steps between saves of the whole state.
        log_every: steps between lines in ``metrics.jsonl``.
    """

    spec: DetectorSpec = SPEC
    optim: OptimConfig = OPTIM
    schedule: ScheduleConfig = SCHEDULE
    batch_size: int = 64
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    parts: float = 0.0
    start: str = ""
    growth: tuple[tuple[float, int], ...] = ()
    evaluate_every: int = 20
    save_every: int = 200
    log_every: int = 20

    def plain(self) -> dict[str, Any]:
        """Return plain JSON data."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def side(self, part: float) -> int:
        """Return the side of the pictures after this part of the run, in 0..1."""
        return next((side for until, side in self.growth if part < until), self.spec.side)


@dataclass(frozen=True, slots=True)
class DetectorOutcome:
    """How a run ended and where it was then."""

    finished: bool
    progress: Progress
    scores: Scores


@dataclass
class _Run:
    """The parts of one run; ``shared`` is the objective that averages gradients over all processes."""

    config: DetectorConfig
    folder: RunFolder
    accelerator: Any
    objective: PersonLoss
    shared: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema
    device: torch.device


def train_detector(
    config: DetectorConfig,
    pictures: ResidentPictures,
    out: str | Path,
    *,
    evaluate: Callable[[PersonNet], Scores] | None = None,
    minutes: float = 0.0,
    display: Display | None = None,
) -> DetectorOutcome:
    """Train, from the start or from where the run in ``out`` was left; under ``torchrun``, in several processes.

    Each process takes its part of every batch and normalises by its own statistics. The first one judges and saves.

    Args:
        config: of the run; a folder with a run of another one is refused.
        pictures: to learn from; the device they are kept on is the one that trains.
        out: folder of the run; gets ``last.safetensors`` and ``best.safetensors``, both of the averaged weights.
        evaluate: returns the validation numbers of a network, ``score`` among them (higher is better).
        minutes: stop in good order after so long; 0 for no limit. Called again, the run goes on.
        display: shows progress; nothing is shown by default.

    Raises:
        UsageError: the folder holds another run, another process trains in it, or the processes cannot share a batch
            evenly.
        MissingExtraError: Accelerate is not installed.
        WeightsError: the weights to start from do not fit.
        VitPoseError: a loss that is not finite, or a file that cannot be written.
    """
    accelerator = join_processes(
        config.batch_size, cpu=pictures.store.pixels.device.type == "cpu", name="the detector's batch_size"
    )
    folder = RunFolder(Path(out))
    with folder.held_alone() if accelerator.is_main_process else contextlib.nullcontext():
        run, progress = _opened(config, pictures, folder, accelerator)
        return _trained(run, progress, pictures, evaluate, minutes, display)


def _trained(
    run: _Run,
    progress: Progress,
    pictures: ResidentPictures,
    evaluate: Callable[[PersonNet], Scores] | None,
    minutes: float,
    display: Display | None,
) -> DetectorOutcome:
    config, began = run.config, time.monotonic()
    per_epoch = max(len(pictures) // config.batch_size, 1)
    total = config.schedule.epochs * per_epoch
    if config.compile:
        run.objective.model.compile()
    scores: Scores = {}
    with contextlib.closing(_Record(run, progress.step, total, display)) as record:
        for step in range(progress.step, total):
            side = config.side(step / total)
            line = _step(run, _draw(run, pictures, step, per_epoch, side), step, per_epoch)
            progress = replace(progress, step=step + 1)
            record.step(progress.step, line | {"epoch": progress.step / per_epoch})
            epoch, rest = divmod(progress.step, per_epoch)
            ended = progress.step == total
            if evaluate is not None and (ended or (rest == 0 and epoch % config.evaluate_every == 0)):
                progress, scores = _judged(run, progress, evaluate)
                record.judged(progress.step, epoch, scores)
            late = minutes > 0 and any_process(run.accelerator, time.monotonic() - began > 60 * minutes)
            if ended or late or progress.step % config.save_every == 0:
                _save(run, progress)
            if late:
                break
    return DetectorOutcome(progress.step == total, progress, scores)


class _Record:
    """What the first process writes down of a run and shows; the others do neither."""

    def __init__(self, run: _Run, done: int, total: int, display: Display | None) -> None:
        self._config, self._log = run.config, None
        self._shows: Display = Quiet()
        if run.accelerator.is_main_process:
            run.folder.trim_metrics(done)
            self._log = RunLog(run.folder.metrics, run.folder.path / "tensorboard", start_step=done)
            self._shows = display or self._shows
        self._shows.start(done, total)
        self._since = (time.monotonic(), done)

    def step(self, step: int, line: Mapping[str, float]) -> None:
        """A step is done."""
        self._shows.step(step, line)
        if step % self._config.log_every == 0 and self._log is not None:
            began, before = self._since
            speed = (step - before) * self._config.batch_size / max(time.monotonic() - began, 1e-9)
            self._log.write(step, {**line, "pictures_per_s": speed})
            self._since = (time.monotonic(), step)

    def judged(self, step: int, epoch: int, scores: Scores) -> None:
        """The network was judged."""
        if self._log is not None:
            self._log.write(step, {f"validation/{name}": value for name, value in scores.items()})
        self._shows.say(f"epoch {epoch}: " + "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        self._since = (time.monotonic(), step)  # judging is not training

    def close(self) -> None:
        """The run is over, for now."""
        self._shows.stop()
        if self._log is not None:
            self._log.close()


def _opened(
    config: DetectorConfig, pictures: ResidentPictures, folder: RunFolder, accelerator: Any
) -> tuple[_Run, Progress]:
    written = folder.path / "config.json"
    if written.exists() and settings_of(written) != config:
        raise UsageError(
            f"{folder.path} holds a run with other settings: give another folder, or the settings in {written}"
        )
    if pictures.side != config.spec.side:
        raise UsageError(f"the pictures are of side {pictures.side}, the detector's is {config.spec.side}")
    device = pictures.store.pixels.device
    if device.type == "cuda" and accelerator.num_processes > 1 and device != accelerator.device:
        raise UsageError(f"the pictures are on {device}, and this process trains on {accelerator.device}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        objective = PersonLoss(PersonNet(config.spec), config.parts)
    resumed = folder.state.exists()
    if config.start and not resumed:
        start_detector(objective.model, config.start)
    if accelerator.is_main_process:
        atomic_write_text(written, json.dumps(config.plain(), indent=1, sort_keys=True) + "\n")
    objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload] # stubs lack it
    objective.train()
    ema = Ema(objective, config.optim.ema)
    optimizer = make_optimizer(objective, config.optim, 0)
    shared = accelerator.prepare(objective)
    run = _Run(config, folder, accelerator, objective, shared, optimizer, ema, device)
    if not resumed:
        return run, Progress()
    progress, parts = load_state(folder.state)
    objective.load_state_dict(parts["objective"])
    optimizer.load_state_dict(parts["optimizer"])
    ema.load(parts["ema"])
    return run, progress


def settings_of(written: Path) -> DetectorConfig:
    """Read a run's settings, not their text: a run begun before a setting existed has its default.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return build(DetectorConfig, json.loads(written.read_text(encoding="utf-8")), str(written))
    except ValueError as error:
        raise UsageError(f"{written} cannot be read, give another folder: {error}") from error


def _draw(run: _Run, pictures: ResidentPictures, step: int, per_epoch: int, side: int) -> PictureBatch:
    """Draw this process's part of a batch."""
    config, mine = run.config, int(run.accelerator.process_index)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng((config.seed, epoch)).permutation(len(pictures))
    positions = (place * config.batch_size + np.arange(config.batch_size)) % len(order)
    rng = np.random.default_rng((config.seed, epoch, place, mine))
    return pictures.draw(order[positions][mine :: run.accelerator.num_processes], rng, side)


def _step(run: _Run, batch: PictureBatch, step: int, per_epoch: int) -> dict[str, float]:
    config = run.config
    seed_step(config.seed, step, run.accelerator.process_index)
    rate = config.optim.lr * lr_factor(step, per_epoch, config.schedule)
    set_lr(run.optimizer, rate)
    half = config.precision == "bf16"
    with torch.autocast(run.device.type, torch.bfloat16) if half else contextlib.nullcontext():
        loss, parts = run.shared(batch)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(list(trainable(run.objective)), config.optim.clip_norm or float("inf"))
    # The numbers are fetched now and then only: each time, the device has to be waited for.
    shown = step % config.log_every in (0, config.log_every - 1)
    if shown and any_process(run.accelerator, not bool(torch.isfinite(loss))):
        raise VitPoseError(f"step {step}: the detector's loss is not finite; what was saved before stays as it is")
    run.optimizer.step()
    run.ema.update()
    if not shown:
        return {}
    line = {"loss": float(loss.detach()), "grad_norm": float(norm), "lr": rate}
    return line | {name: float(value) for name, value in parts.items()}


def _judged(run: _Run, progress: Progress, evaluate: Callable[[PersonNet], Scores]) -> tuple[Progress, Scores]:
    with _averaged(run):
        scores = told_by_first(run.accelerator, lambda: evaluate(run.objective.model))
        progress, best = progress.judged(scores["score"])
        if best and run.accelerator.is_main_process:
            _write(run, progress, run.folder.best, scores)
    return progress, scores


@contextlib.contextmanager
def _averaged(run: _Run) -> Iterator[None]:
    with run.ema.applied():
        run.objective.eval()
        try:
            yield
        finally:
            run.objective.train()


def _write(run: _Run, progress: Progress, path: Path, scores: Scores) -> None:
    metadata = {"step": progress.step, "config": run.config.plain(), "scores": dict(scores)}
    save_detector(path, run.objective.model, metadata)


def _save(run: _Run, progress: Progress) -> None:
    if not run.accelerator.is_main_process:
        return
    with _averaged(run):
        _write(run, progress, run.folder.last, {})
    parts = {
        "objective": run.objective.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "ema": run.ema.state(),
    }
    save_state(run.folder.state, progress, parts)
