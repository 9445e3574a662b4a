"""What a finished run is rounded off with: curves, a report of the best weights, and what their scores are worth."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitpose.core.extras import require
from vitpose.core.files import atomic_path, atomic_write_text
from vitpose.data.coco_writer import write_coco
from vitpose.evaluation.report import write_report
from vitpose.evaluation.run import evaluate
from vitpose.pipeline.assemble import load
from vitpose.pipeline.probabilities import CALIBRATION, to_metadata
from vitpose.training.config import RunConfig
from vitpose.training.state import RunFolder
from vitpose.training.validate import ValidationSet
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model


def finish(
    config: RunConfig, out: str | Path, validation: Sequence[ValidationSet], *, cpu: bool = False
) -> Path | None:
    """Draw the curves and, with labelled validation sets, evaluate the best checkpoint and write the report.

    The evaluation's numbers go to ``evaluation.json``, the calibration of single passes into the checkpoint, and people
    who were held out to ``validation.json``, for ``vitpose eval``.

    Args:
        config: of the run.
        out: folder of the run.
        validation: labelled sets; the first is reported on.
        cpu: leave an accelerator alone.

    Returns:
        the report's page, or None without validation sets.
    """
    folder = RunFolder(Path(out))
    draw_curves(folder.metrics, folder.path / "curves.png")
    if not validation:
        return None
    one = validation[0]
    weights = folder.best if folder.best.exists() else folder.last
    estimator = load(
        weights,
        dataset=one.dataset,
        detector=None,
        flip_test=config.loop.flip_test,
        engine="eager",  # a measurement must repeat; "auto" may change engines on the way
        device="cpu" if cpu else "auto",
    )
    result = evaluate(estimator, one.labelled, boxes=one.boxes)
    atomic_write_text(folder.path / "evaluation.json", json.dumps(result.to_dict(), indent=2) + "\n")
    if config.data.holdout and not config.data.validation:
        write_coco(replace(one.labelled, images_dir=folder.path.absolute()), folder.path / "validation.json")
    plain = estimator.with_options(flip_test=False)
    # Of what `predict` does by default: the peaks of averaged heatmaps are worth something else.
    worth = (result if not config.loop.flip_test else evaluate(plain, one.labelled, boxes=one.boxes)).confidence
    if worth is not None:
        keep_calibration(weights, one.dataset, to_metadata(worth.calibration, plain.options))
    return write_report(result, folder.path / "report")


def keep_calibration(path: Path, dataset: str, calibration: dict[str, Any]) -> None:
    """Write a head's calibration into the metadata of a checkpoint."""
    loaded = load_model(path)
    known = dict(loaded.metadata.get(CALIBRATION, {})) | {dataset: calibration}
    save_checkpoint(path, loaded.model, loaded.skeletons, {**loaded.metadata, CALIBRATION: known})


def draw_curves(metrics: Path, out: Path) -> None:
    """Draw loss, learning rate and validation score over steps.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "train", "drawing the curves of a run")
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    shown = [name for name in ("loss", "lr", "validation/score") if any(name in line for line in lines)]
    if not shown:
        return
    figure = Figure(figsize=(8, 2.6 * len(shown)), layout="constrained")
    for panel, name in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        points = [(line["step"], line[name]) for line in lines if name in line]
        panel.plot(*zip(*points, strict=True), marker="." if len(points) < 40 else None)
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        panel.set_xlabel("step")
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=110)
