"""Stage 6: calibrate, export in half precision, measure against the targets, draw, and write the model card.

Takes a minute or two on any machine with a few cores; an accelerator is not needed.

python -m scripts.embedded.stage6_report --data DATA --out runs/report --detector runs/detector/best.safetensors \
    --model runs/student-ti/student/last.safetensors --model runs/student-s6/student/last.safetensors
"""

import argparse
import json
import math
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scripts.embedded.common import detector_pictures, log, parser, start
from scripts.embedded.stage5_detector import judge

from vitpose.core.files import atomic_write_text
from vitpose.core.poses import Poses
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.evaluation.run import evaluate
from vitpose.media.images import read_image
from vitpose.metrics.bootstrap import ap_score, paired_bootstrap
from vitpose.metrics.detection import DetectionScores
from vitpose.models.detector import PersonNet
from vitpose.pipeline.assemble import load
from vitpose.rendering.draw import draw_poses
from vitpose.training.finish import keep_calibration
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.detector import load_detector, save_detector
from vitpose.weights.load import load_model

THRESHOLD = 0.3
"""The package's default for boxes: the exported detector's operating point is moved there."""

POSE_LIMIT, DETECTOR_LIMIT = 25_000_000, 15_000_000
"""Bytes the two files may take in the package."""

SHEET_PICTURES, SHEET_COLUMNS, SHEET_TILE = 30, 6, 320


@dataclass(frozen=True)
class Target:
    """What is asked for: the number's name, words for it, floor and aim; lower is better for errors."""

    name: str
    words: str
    floor: float
    aim: float
    lower: bool = False

    def verdict(self, value: float) -> str:
        """Say where a value stands."""
        sign = -1 if self.lower else 1
        if not math.isfinite(value):
            return "not measured"
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "floor reached" if sign * value >= sign * self.floor else "missed"


TARGETS = (
    Target("coco_ap", "COCO-17 AP, labelled boxes, flip test", 0.30, 0.50),
    Target("lsp_pck", "LSP 14 points, PCK@0.2 of torso", 0.70, 0.85),
    Target("recall_tall", "recall of people taller than 20 % of the picture at 0.3 false boxes", 0.75, 0.92),
    Target("detected_ap", "detector and pose, COCO AP", 0.20, 0.40),
    Target("calibration_error", "expected calibration error of p_correct", 0.08, 0.03, lower=True),
)


def recentred(net: PersonNet, threshold: float) -> PersonNet:
    """Move all scores on the logit scale so that ``threshold`` becomes the package's default; the order stays."""
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
    scores = judge(loaded.net, judged, device)
    net = recentred(loaded.net, scores.threshold)
    facts = {"scores": _finite(scores.to_dict()), "operating_point": scores.threshold, "trained": loaded.metadata}
    save_detector(out, net, _finite(facts), half=True)
    return judge(load_detector(out).net, judged, device)


def export_pose(source: Path, out: Path) -> int:
    """Write the pose model in half precision and return the file's size in bytes."""
    loaded = load_model(source)
    save_checkpoint(out, loaded.model, loaded.skeletons, loaded.metadata, half=True)
    return out.stat().st_size


def measure(model: Path, detector: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure an exported pair; keeps the calibration of both heads in the pose file."""
    coco, lsp = validation_sets(arguments)
    estimator = load(model, detector=detector, flip_test=True, engine="eager")
    found: dict[str, float] = {}
    labelled = evaluate(estimator, coco)
    low, high = _interval(labelled)
    found |= {"coco_ap": labelled.numbers["ap"], "coco_ap_low": low, "coco_ap_high": high}
    found |= {"coco_pck": labelled.numbers["pck@0.2"]}
    athletes = evaluate(estimator.for_dataset("lspet"), lsp)
    found["lsp_pck"] = athletes.numbers.get("pck_torso@0.2", float("nan"))
    for name, refine in (("detected_ap", False), ("detected_ap_refined", True)):
        found[name] = evaluate(estimator.with_options(refine=refine), coco, boxes="detector").numbers["ap"]
    found["calibration_error"] = labelled.numbers.get("calibration_error_mass_after", float("nan"))
    for dataset, result in (("coco", labelled), ("lspet", athletes)):
        if result.confidence is not None:
            keep_calibration(model, dataset, result.confidence.calibration.to_dict())
    found["seconds_a_picture"] = seconds_a_picture(model, detector)
    return found


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
    images = labelled.images[:count]
    kept = {image.id for image in images}
    records = tuple(record for record in labelled.records if record.image_id in kept)
    return replace(labelled, images=images, records=records)


def _interval(result: Any) -> tuple[float, float]:
    """Return the 95 % interval of AP by resampling pictures."""
    score, images = ap_score(result.matches), len(result.pictures)

    def nothing(_weights: NDArray[np.integer]) -> float:
        return 0.0

    if not images or not math.isfinite(score(np.ones(images, dtype=np.int64))):
        return float("nan"), float("nan")
    found = paired_bootstrap(nothing, score, images=images, resamples=200, seed=0)
    return found.low, found.high


def seconds_a_picture(model: Path, detector: Path) -> float:
    """Return the median time of detector and pose for a 640 x 480 picture on this machine's CPU, weights loaded."""
    estimator = load(model, detector=detector, device="cpu", engine="eager")
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        estimator(picture)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def draw_sheets(model: Path, detector: Path, arguments: argparse.Namespace, *, refine: bool) -> None:
    """Write ``contact.jpg`` (validation pictures) and ``skeletons.png`` (the same people on blank)."""
    coco, _ = validation_sets(arguments)
    estimator = load(model, detector=detector, refine=refine, engine="eager")
    with_people = {record.image for record in coco.records if not record.crowd}
    paths = [image.path for image in coco.images if image.path in with_people]
    step = max(len(paths) // SHEET_PICTURES, 1)
    drawn, blank = [], []
    for path in paths[::step][:SHEET_PICTURES]:
        picture = read_image(path)
        poses: Poses = estimator(picture)
        drawn.append(_tile(draw_poses(picture, poses)))
        blank.append(_tile(draw_poses(np.full_like(picture, 255), poses)))
    _write_picture(arguments.out / "contact.jpg", _sheet(drawn))
    small = cv2.resize(_sheet(blank), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    _write_picture(arguments.out / "skeletons.png", np.asarray(small, np.uint8))


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = SHEET_TILE / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
    tile = np.full((SHEET_TILE, SHEET_TILE, 3), 230, np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return tile


def _sheet(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    empty = np.full((SHEET_TILE, SHEET_TILE, 3), 255, np.uint8)
    padded = [*tiles, *[empty] * (-len(tiles) % SHEET_COLUMNS)]
    rows = [np.concatenate(padded[i : i + SHEET_COLUMNS], axis=1) for i in range(0, len(padded), SHEET_COLUMNS)]
    return np.concatenate(rows)


def _write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(path.suffix, picture[..., ::-1])
    if done:
        path.write_bytes(data.tobytes())


def targets_table(numbers: Mapping[str, float]) -> str:
    """Return the targets as a Markdown table."""
    rows = ["| on the validation parts | floor | aim | measured | |", "|---|---|---|---|---|"]
    for one in TARGETS:
        value = numbers.get(one.name, float("nan"))
        rows.append(f"| {one.words} | {one.floor:g} | {one.aim:g} | {value:.3f} | {one.verdict(value)} |")
    return "\n".join(rows)


def model_card(chosen: str, results: Mapping[str, Mapping[str, float]], sizes: Mapping[str, int], commit: str) -> str:
    """Return the model card as Markdown; what a person has to look at is asked for by name."""
    numbers = results[chosen]
    second = "on" if numbers["detected_ap_refined"] > numbers["detected_ap"] else "off"
    files = "\n".join(f"- `{name}`: {size / 1e6:.1f} MB" for name, size in sizes.items())
    others = "\n".join(
        f"- {name}: COCO AP {one['coco_ap']:.3f} ({one['coco_ap_low']:.3f} to {one['coco_ap_high']:.3f}),"
        f" LSP PCK {one['lsp_pck']:.3f}, with detector {one['detected_ap']:.3f} (second pass"
        f" {one['detected_ap_refined']:.3f}), {one['seconds_a_picture']:.2f} s a picture"
        for name, one in results.items()
    )
    return f"""# The embedded pair: {chosen} and person-detector

A COCO-17 pose model with a second head of 14 points, and a detector of people, trained by this package's own recipes
(`scripts/embedded`), commit {commit}.

{targets_table(numbers)}

The second pass over found boxes is measured as {second}. Candidates:

{others}

{files}

**Data.** 2,252 pictures of COCO 2017 (annotations CC BY 4.0, each photograph under its own Flickr licence), 9,500
person crops of Leeds Sports Pose Extended (no licence stated), 308 pictures of COCO without people. Judged on 250
other pictures of COCO, 65 people of Leeds Sports Pose and 77 pictures without people, none of which was trained on.
Several of these sets state no licence: research use.

**Misses.** Little data: expect failures on rare poses, heavy occlusion, groups, and people below a fifth of the
picture's height. Left and right of the athletes' labels are sometimes swapped in the source.
"""


def _finite(values: Any) -> Any:
    """Replace numbers JSON does not know by None."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _commit() -> str:
    shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "unknown"


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("Export, measure, draw, and write the card.")
    options.add_argument(
        "--model", type=Path, action="append", required=True, help="a student; give several to compare"
    )
    options.add_argument("--detector", type=Path, required=True)
    arguments = options.parse_args(given)
    start(arguments)
    out = arguments.out
    detector = out / "person-detector.safetensors"
    scores = export_detector(arguments.detector, detector, arguments)
    results: dict[str, dict[str, float]] = {}
    sizes = {detector.name: detector.stat().st_size}
    for source in arguments.model:
        name = load_model(source).name
        exported = out / f"{name}.safetensors"
        sizes[exported.name] = export_pose(source, exported)
        results[name] = measure(exported, detector, arguments) | scores.to_dict()
        sizes[exported.name] = export_pose(exported, exported)
        log.info("%s\n%s", name, targets_table(results[name]))
    fitting = [name for name in results if sizes[f"{name}.safetensors"] <= POSE_LIMIT] or list(results)
    chosen = max(fitting, key=lambda name: (results[name]["coco_ap"], results[name]["lsp_pck"]))
    refine = results[chosen]["detected_ap_refined"] > results[chosen]["detected_ap"]
    draw_sheets(out / f"{chosen}.safetensors", detector, arguments, refine=refine)
    commit = _commit()
    document = {
        "command": "scripts/embedded/stage6_report.py",
        "commit": commit,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "chosen": chosen,
        "bytes": sizes,
        "fits": sizes[detector.name] <= DETECTOR_LIMIT and sizes[f"{chosen}.safetensors"] <= POSE_LIMIT,
        "results": _finite(results),
    }
    atomic_write_text(out / "results.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    atomic_write_text(out / "MODEL_CARD.md", model_card(chosen, results, sizes, commit))
    log.info("chosen: %s; everything is in %s", chosen, out)


if __name__ == "__main__":
    main()
