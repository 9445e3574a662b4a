"""Does a run learn? Its curves, and its weights against the guess that knows only the box.

    python benchmarks/learning_curve.py --run FOLDER --data DATA [--dataset lspet] [--figure docs/learning_curve.svg]

FOLDER is a run of ``vitpose train`` with a labelled validation set of ``--dataset``; it may still be going on. The
guess puts every keypoint at its median place in the box. Loss and validation score come from ``metrics.jsonl``; PCK at
0.2 of the torso is measured here, with the weights the run has saved. The drawing holds no photographs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, write_result
from levers.scoring import judge, median_pose, score

from vitpose.core.files import atomic_path
from vitpose.data.records import LabelledSet
from vitpose.evaluation.plots import GRID, INK, MAIN, MUTED, SECOND
from vitpose.metrics.table import keypoint_similarity
from vitpose.training.config import RunConfig
from vitpose.training.material import read_set
from vitpose.training.recipe import load_config
from vitpose.training.state import RunFolder
from vitpose.weights.load import load_model

POINTS = 200
"""Points of the loss that are kept: neighbours are averaged."""


def mean_oks(xy: np.ndarray[Any, np.dtype[np.float64]], labelled: LabelledSet) -> float:
    """Return the mean OKS of ``(people, keypoints, 2)`` points, as a run's validation has it."""
    records = labelled.records
    truth = np.stack([record.keypoints for record in records]).astype(np.float64)
    seen = np.stack([record.visibility for record in records]) > 0
    areas = np.array([record.area for record in records])
    alike = keypoint_similarity(((xy - truth) ** 2).sum(axis=-1), areas, np.asarray(labelled.skeleton.sigma_array))
    return float(np.nanmean(np.where(seen, alike, np.nan), axis=1).mean())


def series(metrics: Path, name: str) -> list[list[float]]:
    """Return ``[step, value]`` pairs of one number of ``metrics.jsonl``, at most about ``POINTS``."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    pairs = [(line["step"], line[name]) for line in lines if name in line]
    groups = np.array_split(np.array(pairs, dtype=np.float64).reshape(-1, 2), max(min(POINTS, len(pairs)), 1))
    return [[float(round(group[-1, 0])), float(group[:, 1].mean())] for group in groups if len(group)]


def validation_name(config: RunConfig, dataset: str, labelled: LabelledSet) -> str:
    """Return what a run calls the mean OKS of a dataset: the first set's stands alone."""
    if config.data.validation[0].dataset == dataset:
        return "validation/mean_oks"
    return f"validation/{labelled.name}/mean_oks"


def study(run: RunFolder, config: RunConfig, dataset: str) -> dict[str, Any]:
    """Return the curves of a run and what its weights are worth beside the guess."""
    training, judged = (
        read_set(config, next(one for one in sets if one.dataset == dataset)).for_training()
        for sets in (config.data.train, config.data.validation)
    )
    loaded = load_model(run.last)
    xy = median_pose(training, judged)
    found = score(loaded.model, judged, torch.device("cpu"), flip_test=config.loop.flip_test, dataset=dataset)
    guess = judge(xy, judged)
    backbone = config.model.backbone
    return {
        "model": f"{backbone.width} channels, {backbone.depth} blocks, {config.model.input_size[0]} x"
        f" {config.model.input_size[1]}",
        "people": len(training),
        "judged": len(judged),
        "step": loaded.metadata.get("step"),
        "epoch": loaded.metadata.get("epoch"),
        "batch": config.loop.batch_size,
        "pck": {"model": found.pck, "guess": guess.pck},
        "error": {"model": found.error, "guess": guess.error},
        "mean_oks_of_guess": mean_oks(xy, judged),
        "loss": series(run.metrics, "loss"),
        "mean_oks": series(run.metrics, validation_name(config, dataset, judged)),
    }


def draw(result: dict[str, Any], out: Path) -> None:
    """Draw loss and mean OKS over the people seen, with the guess as a line."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Letters stay letters and nothing depends on the day, so that the file is small and the same again.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vitpose", "font.size": 9}):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for panel, name, color in ((left, "loss", MAIN), (right, "mean_oks", MAIN)):
            points = np.array(result[name]).reshape(-1, 2)
            panel.plot(points[:, 0] * result["batch"] / 1000, points[:, 1], color=color, linewidth=1.8)
            panel.set_xlabel("thousand crops seen", color=MUTED)
            panel.grid(color=GRID)
            panel.set_axisbelow(True)
        left.set_title("training loss", loc="left", color=INK)
        right.set_title("mean OKS on held-out people", loc="left", color=INK)
        guess = result["mean_oks_of_guess"]
        right.axhline(guess, color=SECOND, linewidth=1.4, linestyle="--")
        right.annotate("median pose", (0.02, guess), xycoords=("axes fraction", "data"), color=SECOND, va="bottom")
        with atomic_path(out) as temporary:
            figure.savefig(temporary, format=out.suffix.removeprefix("."), metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, help="folder of a run; without one the drawing is made anew")
    parser.add_argument("--data", type=Path, help="data folder, in place of the one the run was made with")
    parser.add_argument("--dataset", default="lspet")
    parser.add_argument("--figure", type=Path, default=RESULTS.parents[1] / "docs" / "learning_curve.svg")
    chosen = parser.parse_args()
    if chosen.run is not None:
        run = RunFolder(chosen.run)
        root = [] if chosen.data is None else [f"data.root={json.dumps(str(chosen.data))}"]
        result = study(run, load_config(run.config, root), chosen.dataset)
        write_result("learning_curve", "does training learn more than where keypoints usually are?", result)
    document = json.loads((RESULTS / "learning_curve.json").read_text(encoding="utf-8"))
    draw(document["result"], chosen.figure)


if __name__ == "__main__":
    main()
