"""A whole run from its configuration: folder, model, data, loop, and what is left behind at the end."""

import contextlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitpose._version import __version__
from vitpose.core.errors import UsageError
from vitpose.core.files import atomic_write_text
from vitpose.data.mixture import Source
from vitpose.training.assemble import build_model, build_objective, make_accelerator
from vitpose.training.batches import StepBatches
from vitpose.training.config import RunConfig
from vitpose.training.ema import Ema
from vitpose.training.initial import structure
from vitpose.training.logs import Display, Quiet, RunLog
from vitpose.training.loop import Job, Outcome, restore, run_loop
from vitpose.training.material import Material, load_material
from vitpose.training.optim import make_optimizer
from vitpose.training.processes import told_by_first
from vitpose.training.state import Progress, RunFolder, load_state
from vitpose.training.step import Stepper
from vitpose.training.validate import keypoint_scores, negative_loss

_CROPS_SEEN = 512
"""Crops that a structured start looks at: some 25,000 patches of a crop of 128 x 96, for 768 dimensions."""


def train(
    config: RunConfig,
    out: str | Path,
    *,
    material: Material | None = None,
    resume: bool = False,
    force: bool = False,
    display: Display | None = None,
    cpu: bool = False,
) -> Outcome:
    """Train, from the start or from where the run in ``out`` was left.

    Args:
        config: of the run.
        out: folder of the run.
        material: people to train and validate on, in place of those ``config.data`` names.
        resume: go on with the run in ``out``; starts it if there is none yet.
        force: go on although the configuration has changed.
        display: shows progress; nothing is shown by default.
        cpu: leave an accelerator alone.

    Raises:
        UsageError: parts that do not go together, or a folder with another run.
        VitPoseError: a loss that is not finite, or a file that cannot be written.
    """
    accelerator = make_accelerator(config, cpu=cpu)
    folder = RunFolder(Path(out))
    with contextlib.ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(folder.held_alone())
        fresh = accelerator.is_main_process and not folder.config.exists()
        try:
            resuming = _open(folder, config, accelerator, resume=resume, force=force)
            return _trained(config, folder, accelerator, material, display, resuming=resuming)
        except Exception:
            if fresh:
                folder.forget()
            raise


def _trained(
    config: RunConfig,
    folder: RunFolder,
    accelerator: Any,
    material: Material | None,
    display: Display | None,
    *,
    resuming: bool,
) -> Outcome:
    shows = display if display is not None and accelerator.is_main_process else Quiet()
    progress, parts = load_state(folder.state) if resuming else (Progress(), {})
    people = load_material(config, device=accelerator.device) if material is None else material
    job = _assemble(config, folder, accelerator, shows, progress, people)
    try:
        if resuming:
            restore(job, parts)
            shows.say(f"going on from step {progress.step}")
        del parts
        outcome = run_loop(job, progress)
    finally:
        if job.log is not None:
            job.log.close()
        accelerator.end_training()
    return outcome


def _open(folder: RunFolder, config: RunConfig, accelerator: Any, *, resume: bool, force: bool) -> bool:
    """Make the folder ready in the first process; the others wait for it."""
    resuming = False
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            resuming = folder.open(config, resume=resume, force=force)
            atomic_write_text(folder.path / "versions.json", json.dumps(versions(), indent=2) + "\n")
        else:
            resuming = folder.state.exists()
            if not folder.config.exists():
                raise UsageError(f"{folder.path} could not be made ready by the first process")
    return resuming


def _assemble(
    config: RunConfig, folder: RunFolder, accelerator: Any, display: Display, progress: Progress, material: Material
) -> Job:
    model, notes = build_model(config, load=progress.step == 0)
    if progress.step == 0 and config.model.init == "structured" and not config.model.start:
        notes = (*notes, structure(model, _some_crops(config, material), seed=config.seed))
    for note in notes:
        display.say(f"start: {note}")
    objective = build_objective(config, model, material.people)
    objective.to(accelerator.device)
    ema = Ema(objective, config.optim.ema) if config.optim.ema else None
    optimizer = make_optimizer(objective, config.optim, config.model.backbone.depth)
    prepared, prepared_optimizer = accelerator.prepare(objective, optimizer)
    stepper = Stepper(
        accelerator=accelerator,
        objective=prepared,
        optimizer=prepared_optimizer,
        clip_norm=config.optim.clip_norm,
        seed=config.seed,
        # What memory allowed before, or less where the settings say so now.
        micro_batch=min(filter(None, (progress.micro_batch, config.loop.micro_batch)), default=0),
        notify=display.say,
    )
    log = None
    if accelerator.is_main_process:
        folder.trim_metrics(progress.step)
        log = RunLog(folder.metrics, folder.path / "tensorboard", start_step=progress.step)
    return Job(
        config=config,
        folder=folder,
        objective=objective,
        stepper=stepper,
        optimizer=optimizer,
        ema=ema,
        batches=_batches(config, material.train, accelerator),
        evaluate=_evaluation(config, objective, material, accelerator),
        skeletons=config.model.skeletons(),
        log=log,
        display=display,
    )


def _some_crops(config: RunConfig, material: Material) -> torch.Tensor:
    """Draw crops whose patches tell what pictures are made of; every process draws the same."""
    generator = np.random.default_rng(config.seed)
    chosen = generator.integers(0, len(material.train), _CROPS_SEEN)
    return material.train.draw(chosen, generator.integers(0, 2**62, _CROPS_SEEN)).crops.cpu()


def _batches(config: RunConfig, source: Source, accelerator: Any, *, alone: bool = False) -> StepBatches:
    """Cut a source into batches; ``alone`` gives every process all of each."""
    return StepBatches(
        source=source,
        batch_size=min(config.loop.batch_size, len(source)) if alone else config.loop.batch_size,
        seed=config.seed,
        process=0 if alone else accelerator.process_index,
        processes=1 if alone else accelerator.num_processes,
        workers=config.data.workers,
        device=accelerator.device,
    )


def _evaluation(
    config: RunConfig, objective: torch.nn.Module, material: Material, accelerator: Any
) -> Callable[[], Mapping[str, float]] | None:
    """Return what judges the run; all processes agree about the best and the end."""
    judge = _judge(config, objective, material, accelerator)
    if judge is None:
        return None
    # Each has its own batch norms, and the model of the first is the one that is kept.
    return lambda: told_by_first(accelerator, judge)


def _judge(
    config: RunConfig, objective: torch.nn.Module, material: Material, accelerator: Any
) -> Callable[[], Mapping[str, float]] | None:
    if material.unlabelled is not None:
        batches = _batches(config, material.unlabelled, accelerator, alone=True)
        return negative_loss(objective, batches, seed=config.seed)
    if not material.validation:
        return None
    model: Any = objective.model
    return keypoint_scores(model, material.validation, device=accelerator.device, flip_test=config.loop.flip_test)


def versions() -> dict[str, str]:
    """Return what the run was made with: packages, Python, machine and command."""
    import accelerate

    return {
        "vitpose": __version__,
        "torch": torch.__version__,
        "accelerate": accelerate.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.system()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "command": " ".join(sys.argv),
    }
