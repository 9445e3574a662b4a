"""Stage 6: calibrate, export in half precision, measure against the targets, draw, and write the words about it.

Takes any of this package's pose models with a COCO head and any of its detectors. A minute or two on a machine with a
few cores; an accelerator is not needed.

python -m scripts.embedded.stage6_report --data DATA --out runs/report --detector runs/detector/best.safetensors \
    --model runs/student-ti/student/last.safetensors --model runs/student-s6/student/last.safetensors
"""

import argparse
import json
import math
import platform
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scripts.embedded.common import detector_pictures, log, parser, start
from scripts.embedded.history import stages_of
from scripts.embedded.page import model_card, targets_table
from scripts.embedded.sheets import contact_sheet
from scripts.embedded.stage5_detector import judge

from vitpose.core.errors import UsageError
from vitpose.core.files import atomic_write_text
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.evaluation.result import EvaluationResult
from vitpose.evaluation.run import evaluate
from vitpose.metrics.bootstrap import ap_score, paired_bootstrap
from vitpose.metrics.detection import DetectionScores
from vitpose.models.detector import PersonNet
from vitpose.models.pose import build_from_state
from vitpose.pipeline.assemble import load
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.probabilities import to_metadata
from vitpose.training.finish import keep_calibration
from vitpose.weights.catalog import find_model
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.detector import PACKAGED, load_detector, save_detector
from vitpose.weights.formats import file_sha256
from vitpose.weights.load import load_model

THRESHOLD = 0.3
"""The package's default for boxes: the exported detector's operating point is moved there."""

POSE_LIMIT, DETECTOR_LIMIT = 25_000_000, 15_000_000
"""Bytes the two files may take in the package."""

SETS = ("coco", "lspet")
"""Heads that are measured, the first one needed."""


def recentred(net: PersonNet, threshold: float) -> PersonNet:
    """Move the scores of every look on the logit scale so that ``threshold`` becomes the package's default."""
    clipped = min(max(threshold, 1e-4), 1 - 1e-4)
    shift = math.log(THRESHOLD / (1 - THRESHOLD)) - math.log(clipped / (1 - clipped))
    with torch.no_grad():
        for out in net.score:
            assert isinstance(out.bias, torch.Tensor)
            out.bias += shift
    return net


def export_detector(source: Path, out: Path, arguments: argparse.Namespace) -> DetectionScores:
    """Write the detector in half precision with its operating point at the default threshold, and score the file."""
    judged = detector_pictures(arguments.data, athletes=0).validation
    judged = judged[:4] if arguments.small else judged
    loaded, device = load_detector(source), torch.device("cpu")
    net, scores = loaded.net, judge(loaded.net, judged, device)
    trained = dict(loaded.metadata)
    if "config" in trained:  # where the weights it started from lay on somebody's disk is nobody else's business
        trained["config"] = {**trained["config"], "start": ""}
    facts = {"operating_point": scores.threshold, "trained": trained}
    # Scores are means over looks, which the shift of each moves only about as far.
    for _ in range(4):
        if abs(scores.threshold - THRESHOLD) < 0.005:
            break
        net = recentred(net, scores.threshold)
        scores = judge(net, judged, device)
    save_detector(out, net, _finite(facts | {"scores": scores.to_dict()}), half=True)
    return judge(load_detector(out).net, judged, device)


def export_pose(source: Path, out: Path, name: str) -> None:
    """Write a pose model in half precision under another name.

    Raises:
        UsageError: it has no head for COCO's keypoints.
    """
    loaded = load_model(source)
    if SETS[0] not in loaded.skeletons:
        raise UsageError(f"{source} has no head for {SETS[0]}: it has {', '.join(loaded.skeletons)}")
    model = build_from_state(replace(loaded.model.spec, name=name), loaded.model.state_dict(), like=loaded.model)
    metadata = dict(loaded.metadata)
    if "config" in metadata:  # where the data lay on somebody's disk is nobody else's business
        metadata["config"] = re.sub(r'(?m)^(root|start|teacher|token) = ".*"$', r'\1 = ""', str(metadata["config"]))
    save_checkpoint(out, model, loaded.skeletons, metadata, half=True)


def measure(model: Path, detector: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure an exported pair; keeps the calibration of the heads, with the package's defaults, in the pose file."""
    coco, lsp = validation_sets(arguments)
    plain = load(model, dataset=SETS[0], detector=detector, engine="eager")
    flipped = plain.with_options(flip_test=True)
    labelled = evaluate(flipped, coco)
    low, high = _interval(labelled)
    found = {"coco_ap": labelled.numbers["ap"], "coco_ap_low": low, "coco_ap_high": high}
    found |= {"coco_pck": labelled.numbers["pck@0.2"]}
    for name, refine in (("detected_ap", False), ("detected_ap_refined", True)):
        found[name] = evaluate(flipped.with_options(refine=refine), coco, boxes="detector").numbers["ap"]
    fitted = evaluate(plain, coco)
    found |= {"coco_ap_plain": fitted.numbers["ap"]}
    found |= {"calibration_error": fitted.numbers.get("calibration_error_mass_after", float("nan"))}
    _keep(model, plain, fitted)
    if SETS[1] in plain.datasets:
        athletes = flipped.for_dataset(SETS[1])
        found["lsp_pck"] = evaluate(athletes, lsp).numbers.get("pck_torso@0.2", float("nan"))
        _keep(model, athletes.with_options(flip_test=False), evaluate(athletes, lsp, flip_test=False))
    found["seconds_a_picture"] = seconds_a_picture(plain)
    return found


def _keep(model: Path, estimator: PoseEstimator, result: EvaluationResult) -> None:
    if result.confidence is not None:
        fitted = to_metadata(result.confidence.calibration, estimator.options)
        keep_calibration(model, estimator.dataset, fitted)


def validation_sets(arguments: argparse.Namespace) -> tuple[LabelledSet, LabelledSet]:
    """Read the COCO and LSP people that nothing was trained on."""
    data = arguments.data
    coco = read_labelled("coco", data / "coco" / "person_keypoints_val.json", data / "coco" / "images")
    lsp = read_labelled("coco", data / "lsp" / "annotations.json", data / "lsp" / "images")
    if not arguments.small:
        return coco, lsp
    return first_pictures(coco, 6), first_pictures(lsp, 4)


def first_pictures(labelled: LabelledSet, count: int) -> LabelledSet:
    """Return the people of the first pictures of a set."""
    return labelled.only_images({image.id for image in labelled.images[:count]}.__contains__)


def _interval(result: EvaluationResult) -> tuple[float, float]:
    """Return the 95 % interval of AP by resampling pictures."""
    score, images = ap_score(result.matches), len(result.pictures)

    def nothing(_weights: NDArray[np.integer]) -> float:
        return 0.0

    if not images or not math.isfinite(score(np.ones(images, dtype=np.int64))):
        return float("nan"), float("nan")
    found = paired_bootstrap(nothing, score, images=images, resamples=200, seed=0)
    return found.low, found.high


def seconds_a_picture(estimator: PoseEstimator) -> float:
    """Return the median time of detector and pose for a 640 x 480 picture on this machine, weights loaded."""
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        estimator(picture)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def candidates(sources: Sequence[Path]) -> dict[str, Path]:
    """Return the models to compare by name; a number tells those apart that call themselves the same."""
    found: dict[str, Path] = {}
    for source in sources:
        name = load_model(source).name
        found[name if name not in found else f"{name}-{len(found) + 1}"] = source
    return found


def _finite(values: Any) -> Any:
    """Replace numbers JSON does not know by None."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _commit() -> str:
    shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def _shape(path: Path) -> dict[str, Any]:
    """Return what a pose model is made of."""
    model = load_model(path).model
    backbone = model.spec.backbone
    return {
        "width": backbone.width,
        "depth": backbone.depth,
        "heads": backbone.heads,
        "stem": backbone.stem,
        "input_size": list(model.spec.input_size),
        "decoders": {
            head.dataset: f"{head.kind}, {head.codec}, {head.maps}, {head.keypoints} points"
            for head in model.spec.heads
        },
        "parameters": sum(one.numel() for one in model.parameters()),
    }


def _detector_shape(path: Path) -> dict[str, Any]:
    """Return what a detector is made of."""
    net = load_detector(path).net
    return {**net.spec.to_dict(), "parameters": sum(one.numel() for one in net.parameters())}


def _facts(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _once(stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what stands there already: the detector may have begun with the stem of the pose model's run."""
    return [one for place, one in enumerate(stages) if one not in stages[:place]]


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("Export, measure, draw, and write the card.")
    options.add_argument(
        "--model", type=Path, action="append", required=True, help="a pose model; give several to compare"
    )
    options.add_argument("--detector", type=Path, required=True, help="a person detector")
    arguments = options.parse_args(given)
    start(arguments)
    out, own = arguments.out, find_model("embedded")
    detector, model = out / PACKAGED, out / own.packaged
    scores = export_detector(arguments.detector, detector, arguments)
    results: dict[str, dict[str, float]] = {}
    exported: dict[str, Path] = {}
    for name, source in candidates(arguments.model).items():
        exported[name] = out / "candidates" / f"{name}.safetensors"
        exported[name].parent.mkdir(exist_ok=True)
        export_pose(source, exported[name], own.id)
        results[name] = measure(exported[name], detector, arguments) | scores.to_dict()
        log.info("%s\n%s", name, targets_table(results[name]))
    for path in exported.values():
        export_pose(path, path, own.id)  # the calibration was written in single precision
    fitting = [name for name in results if exported[name].stat().st_size <= POSE_LIMIT] or list(results)
    chosen = max(fitting, key=lambda name: (results[name]["coco_ap"], results[name].get("lsp_pck", 0.0)))
    model.write_bytes(exported[chosen].read_bytes())
    document: dict[str, Any] = {
        "command": "scripts/embedded/stage6_report.py",
        "commit": _commit(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "chosen": chosen,
        "refine": results[chosen]["detected_ap_refined"] > results[chosen]["detected_ap"],
        "files": {path.name: _facts(path) for path in (model, detector)},
        "fits": model.stat().st_size <= POSE_LIMIT and detector.stat().st_size <= DETECTOR_LIMIT,
        "results": _finite(results),
        "architecture": {"pose": _shape(model), "detector": _detector_shape(detector)},
        "stages": _once(stages_of(candidates(arguments.model)[chosen]) + stages_of(arguments.detector)),
    }
    estimator = load(model, dataset=SETS[0], detector=detector, refine=document["refine"], engine="eager")
    coco, _ = validation_sets(arguments)
    shown = {record.image for record in coco.records if not record.crowd}
    contact_sheet(estimator, [image.path for image in coco.images if image.path in shown], out)
    atomic_write_text(out / "results.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    atomic_write_text(out / "MODEL_CARD.md", model_card(document))
    log.info("chosen: %s; everything is in %s", chosen, out)


if __name__ == "__main__":
    main()
