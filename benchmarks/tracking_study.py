"""Who keeps people apart best: pose-aware association or trackers that see boxes?

PoseTrack labels become detections (``tracking_simulation.py``); every tracker gets the same frames. Settings of all
trackers, ours included, were chosen by random search on the videos named ``train_*`` with seed 0 (``--search NAME``);
the numbers are those of the videos named ``test_*`` with seeds 100 and 101. IDF1, HOTA, MOTA and id switches come from
the ``trackers`` library, which follows TrackEval, once with box overlap as similarity and once with OKS.

    OMP_NUM_THREADS=1 python benchmarks/tracking_study.py posetrack_cvpr17_all60.npz [--search botsort]
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import write_result
from trackers.eval import (
    aggregate_clear_metrics,
    aggregate_hota_metrics,
    aggregate_identity_metrics,
    compute_clear_metrics,
    compute_hota_metrics,
    compute_identity_metrics,
)
from tracking_simulation import RATE, SETTINGS, SKELETON, LabelledVideo, load_videos, simulate

from vitpose.core.poses import Poses
from vitpose.core.similarity import box_areas, iou_matrix, oks_matrix
from vitpose.tracking.base import Tracker, track
from vitpose.tracking.box_trackers import BoxTracker
from vitpose.tracking.pose_tracker import PoseTracker
from vitpose.tracking.settings import PoseTrackerSettings
from vitpose.tracking.state import MotionModel

Data = list[tuple[LabelledVideo, list[Poses]]]
TEST_SEEDS = (100, 101)

CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "sort": {
        "lost_track_buffer": 60,
        "track_activation_threshold": 0.55,
        "minimum_consecutive_frames": 3,
        "minimum_iou_threshold": 0.3,
    },
    "bytetrack": {
        "lost_track_buffer": 30,
        "track_activation_threshold": 0.8,
        "minimum_consecutive_frames": 2,
        "minimum_iou_threshold": 0.3,
        "high_conf_det_threshold": 0.4,
    },
    "ocsort": {
        "lost_track_buffer": 15,
        "minimum_consecutive_frames": 1,
        "minimum_iou_threshold": 0.1,
        "direction_consistency_weight": 0.0,
        "high_conf_det_threshold": 0.6,
    },
    "botsort": {
        "lost_track_buffer": 60,
        "track_activation_threshold": 0.7,
        "minimum_consecutive_frames": 2,
        "minimum_iou_threshold_first_assoc": 0.1,
        "minimum_iou_threshold_second_assoc": 0.35,
        "minimum_iou_threshold_unconfirmed_assoc": 0.3,
        "high_conf_det_threshold": 0.5,
    },
    "cbiou": {
        "lost_track_buffer": 15,
        "track_activation_threshold": 0.6,
        "minimum_consecutive_frames": 2,
        "minimum_iou_threshold_first_assoc": 0.3,
        "minimum_iou_threshold_second_assoc": 0.5,
        "minimum_iou_threshold_unconfirmed_assoc": 0.3,
        "high_conf_det_threshold": 0.4,
        "buffer_ratio_first": 0.2,
        "buffer_ratio_second": 0.5,
    },
}
"""What the search on the training videos chose for each box tracker; our tracker's choice is its defaults."""

_THRESHOLDS = [0.5, 0.6, 0.7, 0.8]
_BOX_SPACE: Mapping[str, Sequence[Any]] = {
    "lost_track_buffer": [15, 30, 60],
    "track_activation_threshold": [0.25, 0.4, 0.55, *_THRESHOLDS],
    "minimum_consecutive_frames": [1, 2, 3],
    "minimum_iou_threshold": [0.05, 0.1, 0.2, 0.3],
    "minimum_iou_threshold_first_assoc": [0.05, 0.1, 0.2, 0.3],
    "minimum_iou_threshold_second_assoc": [0.2, 0.35, 0.5],
    "minimum_iou_threshold_unconfirmed_assoc": [0.1, 0.3],
    "high_conf_det_threshold": [0.3, 0.4, 0.45, 0.5, 0.6, 0.7],
    "direction_consistency_weight": [0.0, 0.1, 0.2],
    "buffer_ratio_first": [0.2, 0.3, 0.4],
    "buffer_ratio_second": [0.3, 0.5],
}
_POSE_SPACE: Mapping[str, Sequence[float]] = {
    "first_evidence": [0.2, 0.3, 0.4, 0.45, 0.5],
    "evidence": [0.3, 0.4, 0.5, 0.6, 0.75, 0.9],
    "new_quality": [0.3, 0.35, 0.4, 0.45],
    "least": [0.15, 0.2, 0.25, 0.3],
    "least_iou": [0.1, 0.2, 0.3, 0.4],
    "pose_weight": [0.3, 0.4, 0.5, 0.6],
    "box_weight": [0.1, 0.2, 0.25, 0.3, 0.4],
    "tolerance": [0.8, 1.0, 1.3, 1.6],
    "resize": [0.2, 0.3, 0.4, 0.6],
    "center_width": [0.15, 0.2, 0.3],
    "double": [0.4, 0.45, 0.5, 0.6, 0.8],
    "suppress": [0.35, 0.4, 0.45, 0.5],
    "double_box": [0.5, 0.6, 0.7, 0.8],
    "quality_weight": [0.2, 0.3, 0.4, 0.5, 0.7],
    "lost_s": [1.0, 1.5, 2.0, 3.0],
}
_MOTION_SPACE: Mapping[str, Sequence[float]] = {
    "keypoint_noise": [0.3, 0.6, 1.0],
    "box_noise": [0.04, 0.06, 0.1],
    "keypoint_walk": [0.2, 0.35, 0.5],
    "box_walk": [0.05, 0.1, 0.25],
    "acceleration": [0.5, 1.0, 1.5],
    "coast_s": [0.1, 0.2, 0.4],
    "doubt": [0.0, 0.5, 1.0],
}


def box_overlap(video: LabelledVideo, frame: int, there: Any, found: Poses) -> Any:
    """IoU of the labelled boxes and the boxes that were found."""
    return iou_matrix(video.boxes[there, frame], found.boxes)


def pose_overlap(video: LabelledVideo, frame: int, there: Any, found: Poses) -> Any:
    """OKS of the labelled poses and the poses that were found, over the labelled keypoints."""
    areas = box_areas(video.boxes[there, frame])[:, None]
    return oks_matrix(
        video.xy[there, frame],
        found.xy,
        sigmas=SKELETON.sigma_array,
        areas=areas,
        counted=video.visible[there, frame] > 0,
    )


def evaluate(tracker: Tracker, data: Data, overlaps: Mapping[str, Callable[..., Any]]) -> dict[str, dict[str, float]]:
    """IDF1, HOTA and MOTA in percent, id switches, and milliseconds a frame, by kind of overlap."""
    parts: dict[str, list[tuple[Any, Any, Any]]] = {name: [] for name in overlaps}
    start, frames = time.perf_counter(), 0
    tracked = []
    for _, detections in data:
        tracked.append(list(track(((t / RATE, poses) for t, poses in enumerate(detections)), tracker)))
        frames += len(detections)
    milliseconds = 1000 * (time.perf_counter() - start) / frames
    for (video, _), result in zip(data, tracked, strict=True):
        present = [np.flatnonzero(video.present[:, t]) for t in range(len(result))]
        named = [poses[np.flatnonzero(poses.track_ids > 0)] for poses in result]
        ids = [poses.track_ids for poses in named]
        for name, overlap in overlaps.items():
            similar = [overlap(video, t, present[t], named[t]) for t in range(len(result))]
            parts[name].append(
                (
                    compute_identity_metrics(present, ids, similar),
                    compute_clear_metrics(present, ids, similar),
                    compute_hota_metrics(present, ids, similar),
                )
            )
    return {name: _summary(part) | {"ms_per_frame": milliseconds} for name, part in parts.items()}


def _summary(part: list[tuple[Any, Any, Any]]) -> dict[str, float]:
    identity, clear, hota = ([entry[i] for entry in part] for i in range(3))
    found = aggregate_clear_metrics(clear)
    return {
        "IDF1": 100 * aggregate_identity_metrics(identity)["IDF1"],
        "HOTA": 100 * aggregate_hota_metrics(hota)["HOTA"],
        "MOTA": 100 * found["MOTA"],
        "id_switches": int(found["IDSW"]),
    }


def make(name: str, options: Mapping[str, Any] | None = None) -> Tracker:
    """Build a tracker; None takes what the search chose."""
    if name == "pose":
        chosen = dict(options or {})
        motion = MotionModel(**{key: chosen.pop(key) for key in list(chosen) if key in _MOTION_SPACE})
        return PoseTracker(replace(PoseTrackerSettings(), **chosen, motion=motion) if options else None)
    return BoxTracker(name, CHOSEN[name] if options is None else options)


def search(name: str, videos: list[LabelledVideo], trials: int) -> None:
    """Random search for the mean IDF1 of the three settings: one to three numbers of the best so far change."""
    data = {key: [(v, list(simulate(v, setting, 0))) for v in videos] for key, setting in SETTINGS.items()}
    space = {**_POSE_SPACE, **_MOTION_SPACE} if name == "pose" else {k: _BOX_SPACE[k] for k in CHOSEN[name]}
    rng = np.random.default_rng(0)
    best, options = -1.0, {}
    for trial in range(trials):
        changed = {str(k) for k in rng.choice(list(space), int(rng.integers(1, 4)), replace=False)} if trial else set()
        candidate = options | {key: space[key][int(rng.integers(len(space[key])))] for key in changed}
        if candidate.get("pose_weight", 0.5) + candidate.get("box_weight", 0.25) > 1:
            continue
        scores = [evaluate(make(name, candidate), part, {"box": box_overlap})["box"]["IDF1"] for part in data.values()]
        if np.mean(scores) > best:
            best, options = float(np.mean(scores)), candidate
            print(trial, np.round(scores, 1), options, flush=True)


def main() -> None:
    """Measure and write ``benchmarks/results/tracking_study.json``, or search for settings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("labels", type=Path)
    parser.add_argument("--search", choices=["pose", *CHOSEN])
    parser.add_argument("--trials", type=int, default=16)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    videos = load_videos(arguments.labels)
    if arguments.search:
        search(arguments.search, [v for v in videos if v.name.startswith("train")], arguments.trials)
        return
    sys.argv[1] = arguments.labels.name
    test = [v for v in videos if v.name.startswith("test")]
    overlaps = {"box": box_overlap, "oks": pose_overlap}
    result: dict[str, Any] = {"settings": {name: asdict(setting) for name, setting in SETTINGS.items()}, "scores": {}}
    for name, setting in SETTINGS.items():
        data = [(v, list(simulate(v, setting, seed))) for seed in TEST_SEEDS for v in test]
        rows = {one: evaluate(make(one), data, overlaps) for one in ("pose", *CHOSEN)}
        rows |= {f"{one} (library defaults)": evaluate(make(one, {}), data, overlaps) for one in CHOSEN}
        best = max(rows[one]["box"]["IDF1"] for one in rows if one != "pose")
        result["scores"][name] = rows | {"margin_IDF1_box": rows["pose"]["box"]["IDF1"] - best}
        print(name, round(result["scores"][name]["margin_IDF1_box"], 2), flush=True)
    write_result("tracking_study", "pose-aware association against box trackers on simulated detections", result)


if __name__ == "__main__":
    main()
