"""How much does it save to let the detector look at every N-th frame only, and what does it cost?

PoseTrack labels are the truth of 30 films of real people (another 30 were used to set numbers); everything else is
simulated, so that N is the only thing that changes. The *detector* is that of ``tracking_simulation.py``: wrong boxes,
misses that come in runs, false boxes. The *pose model* sees what is in the box it is given: the person who fills most
of it (the neighbour, when the box has slid over to him), keypoints outside the region that would be cut out are lost,
noise and wild keypoints as in ``tracking_simulation.py``. Which box is given is decided by the package's own code
(``pipeline/demand.py``), and ids by its tracker. The processor seconds are those of real networks with random weights
on this machine, a detector of RT-DETR R50's shape and ViTPose-B, multiplied with how often each runs.

    OMP_NUM_THREADS=1 python benchmarks/video_study.py posetrack_cvpr17_all60.npz
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from harness import write_result
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tracking_simulation import KEPT, RATE, SETTINGS, SIGMAS, SKELETON, LabelledVideo, Setting, load_videos, simulate

from vitpose.core.geometry import CropTransform, Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.similarity import box_areas, iou_matrix, oks_matrix
from vitpose.media.frames import Frame
from vitpose.pipeline.chunks import Chunk
from vitpose.pipeline.demand import Demand
from vitpose.pipeline.film_work import FilmWork
from vitpose.pipeline.following import Follower
from vitpose.pipeline.journal import Record
from vitpose.tracking.pose_tracker import PoseTracker

EVERY = (1, 2, 4, 6, 10)
SEEDS = (100,)
CROP = Size(256, 192)
REPEATS = 5
SHOWN = 0.15
"""Overlap of a box with a person below which the crop shows nobody."""


class SimulatedModel:
    """Detector and estimator of one labelled film. A frame's picture holds nothing but the frame's number."""

    name = "simulated"

    def __init__(self, video: LabelledVideo, setting: Setting, seed: int) -> None:
        self.video, self.setting, self.seed = video, setting, seed
        self.found = list(simulate(video, setting, seed))
        self.size = Size(*(int(side) + 1 for side in video.boxes.reshape(-1, 4).max(axis=0)[3:1:-1]))
        self.looked = self.estimated = 0

    @property
    def detector(self) -> "SimulatedModel":
        """The detector of the estimator, which is this object too."""
        return self

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Detect."""
        self.looked += len(images)
        found = [self.found[_number(image)] for image in images]
        return [Boxes(poses.boxes, poses.box_scores) for poses in found]

    def estimate(self, images: Sequence[NDArray[np.uint8]], boxes: Sequence[Boxes]) -> list[Poses]:
        """Estimate."""
        return [self._poses(_number(image), people) for image, people in zip(images, boxes, strict=True)]

    def _poses(self, t: int, boxes: Boxes) -> Poses:
        self.estimated += len(boxes)
        there = np.flatnonzero(self.video.present[:, t])
        overlap = iou_matrix(boxes.xyxy, self.video.boxes[there, t])
        regions = CropTransform.from_boxes(boxes.xyxy, CROP)
        corners = regions.to_image(
            np.tile(np.array([[0, 0], [CROP.width - 1, CROP.height - 1]], np.float32), (len(boxes), 1, 1))
        )
        rows = []
        for i in range(len(boxes)):
            # Whoever is looked for in the same frame gets the same noise, however the box came about.
            person = int(there[overlap[i].argmax()]) if overlap[i].max(initial=0) >= SHOWN else -1
            rng = np.random.default_rng([self.seed, t, person + 1])
            rows.append(self._one(t, person, corners[i].reshape(4), rng, there))
        xy, scores = (np.array([row[k] for row in rows]) for k in range(2))
        if not rows:
            return Poses.empty(SKELETON, self.size)
        return Poses(
            xy=xy, scores=scores, boxes=boxes.xyxy, box_scores=boxes.scores, skeleton=SKELETON, image_size=self.size
        )

    def _one(
        self, t: int, person: int, region: NDArray[np.floating], rng: np.random.Generator, there: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        extent = region[2:] - region[:2]
        anywhere = region[:2] + (0.1 + 0.8 * rng.random((len(KEPT), 2))) * extent
        if person < 0:
            return anywhere, rng.beta(2, 5, len(KEPT))
        boxes = self.video.boxes
        near = [q for q in there if q != person and iou_matrix(boxes[[person], t], boxes[[q], t])[0, 0] > 0.4]
        if near and rng.random() < self.setting.neighbour:
            person = int(rng.choice(near))
        visible = self.video.visible[person, t]
        size = np.sqrt(np.prod(boxes[person, t, 2:] - boxes[person, t, :2]))
        spread = self.setting.keypoint * np.array(SIGMAS) * size * np.where(visible == 2, 1.0, 2.0)
        xy = self.video.xy[person, t] + rng.normal(size=(len(KEPT), 2)) * spread[:, None]
        scores = np.where(visible == 2, rng.beta(8, 2, len(KEPT)), rng.beta(4, 3, len(KEPT)))
        gross = rng.random(len(KEPT)) < self.setting.gross
        scores = np.where(gross, rng.beta(3, 4, len(KEPT)), scores)
        cut = ((self.video.xy[person, t] < region[:2]) | (self.video.xy[person, t] > region[2:])).any(axis=1)
        lost = (visible == 0) | cut
        scores = np.where(lost, rng.beta(1.5, 6, len(KEPT)), scores)
        return np.where((gross | lost)[:, None], anywhere, xy), scores


def _picture(number: int) -> NDArray[np.uint8]:
    return np.array([[[number // 65536, number // 256 % 256, number % 256]]], dtype=np.uint8)


def _number(image: NDArray[np.uint8]) -> int:
    high, middle, low = image[0, 0].tolist()
    return int(high * 65536 + middle * 256 + low)


def run(model: SimulatedModel, every: int) -> list[Record]:
    """Work through a film as ``predict_video`` does, in one thread."""
    work = FilmWork(model, Demand(every), Follower(PoseTracker(), None))  # type: ignore[arg-type]
    frames = [Frame(t, t / RATE, _picture(t)) for t in range(len(model.found))]
    records: list[Record] = []
    for first in range(0, len(frames), 16):
        chunk = Chunk(first, tuple(frames[first : first + 16]))
        records += work.follow(work.estimate(work.detect(chunk))).records
    return records


class Tally:
    """Adds up frame by frame what was found of the labelled people."""

    def __init__(self) -> None:
        self.labelled = self.named = self.matched = self.identified = 0
        self.errors: list[NDArray[np.float64]] = []

    def add(self, video: LabelledVideo, records: Sequence[Record]) -> None:
        """Add a film."""
        together: dict[tuple[int, int], int] = {}
        for t, record in enumerate(records):
            there = np.flatnonzero(video.present[:, t])
            ids = record.poses.track_ids
            poses = record.poses[np.flatnonzero(ids > 0)] if ids is not None else record.poses
            self.labelled += len(there)
            self.named += len(poses)
            for row, column, error in _matched(video, t, there, poses):
                assert poses.track_ids is not None
                pair = int(there[row]), int(poses.track_ids[column])
                together[pair] = together.get(pair, 0) + 1
                self.errors.append(error)
                self.matched += 1
        self.identified += _identified(together)

    def result(self) -> dict[str, float]:
        """Percentages; errors in percent of the body size."""
        errors = np.concatenate(self.errors)
        return {
            "recall": 100 * self.matched / self.labelled,
            "precision": 100 * self.matched / max(self.named, 1),
            "IDF1": 200 * self.identified / (self.labelled + self.named),
            "keypoint_error_percent_median": 100 * float(np.median(errors)),
            "keypoint_error_percent_mean": 100 * float(errors.mean()),
        }


def _matched(
    video: LabelledVideo, t: int, there: NDArray[np.int64], poses: Poses
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Yield pairs of label and pose with an OKS of at least 0.5, and the distances in body sizes."""
    areas = box_areas(video.boxes[there, t])[:, None]
    seen = video.visible[there, t] > 0
    similar = oks_matrix(video.xy[there, t], poses.xy, sigmas=SKELETON.sigma_array, areas=areas, counted=seen)
    for row, column in zip(*linear_sum_assignment(np.where(similar >= 0.5, similar, 0), maximize=True), strict=True):
        if similar[row, column] >= 0.5:
            distance = np.linalg.norm(video.xy[there[row], t] - poses.xy[column], axis=1)
            yield int(row), int(column), distance[seen[row]] / np.sqrt(areas[row, 0])


def _identified(together: Mapping[tuple[int, int], int]) -> int:
    """Frames in which people have their one best id (IDF1; Ristani et al. 2016)."""
    if not together:
        return 0
    people = sorted({person for person, _ in together})
    ids = sorted({one for _, one in together})
    table = np.zeros((len(people), len(ids)))
    for (person, one), count in together.items():
        table[people.index(person), ids.index(one)] = count
    rows, columns = linear_sum_assignment(table, maximize=True)
    return int(table[rows, columns].sum())


def study(videos: Sequence[LabelledVideo], setting: Setting, every: int) -> dict[str, float]:
    tally = Tally()
    looked = estimated = frames = 0
    for seed in SEEDS:
        for video in videos:
            model = SimulatedModel(video, setting, seed)
            tally.add(video, run(model, every))
            looked, estimated, frames = looked + model.looked, estimated + model.estimated, frames + len(model.found)
    return tally.result() | {"looks_per_frame": looked / frames, "crops_per_frame": estimated / frames}


def costs() -> dict[str, float]:
    """Processor seconds of one look and of one crop on one core; what the weights are does not matter."""
    import torch
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    import vitpose

    torch.manual_seed(0)
    detector = RTDetrForObjectDetection(
        RTDetrConfig(backbone_config=RTDetrResNetConfig(out_features=["stage2", "stage3", "stage4"]))
    ).eval()
    picture = torch.rand(1, 3, 640, 640)
    estimator = vitpose.load("random:vitpose-b", detector=None, engine="eager-fp32", device="cpu")
    crops = np.zeros((4, *estimator.engine.input_size, 3), np.uint8)
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {"look": [], "crops": []}
    with torch.inference_mode():
        for turn in range(REPEATS + 1):
            for name, call in (("look", lambda: detector(picture)), ("crops", lambda: estimator.engine(crops))):
                begun = time.process_time()
                call()
                seconds[name] += [time.process_time() - begun] * bool(turn)  # the first turn warms up
    return {"look_s": statistics.median(seconds["look"]), "crop_s": statistics.median(seconds["crops"]) / len(crops)}


def main() -> None:
    """Measure and write ``benchmarks/results/video_on_demand.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("labels", type=Path)
    parser.add_argument("--every", type=int, nargs="+", default=EVERY)
    parser.add_argument(
        "--try", dest="trying", action="store_true", help="on the videos named train_*, written nowhere"
    )
    arguments = parser.parse_args()
    part = "train" if arguments.trying else "test"
    videos = [video for video in load_videos(arguments.labels) if video.name.startswith(part)]
    rows: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        rows[name] = {}
        for every in arguments.every:
            rows[name][str(every)] = study(videos, setting, every)
            print(name, every, {key: round(value, 2) for key, value in rows[name][str(every)].items()}, flush=True)
    if arguments.trying:
        return
    price = costs()
    for row in (row for by_every in rows.values() for row in by_every.values()):
        row["seconds_per_frame"] = row["looks_per_frame"] * price["look_s"] + row["crops_per_frame"] * price["crop_s"]
    sys.argv[1] = arguments.labels.name
    result = {
        "simulated": "the detector's boxes, misses and false boxes, and the pose model's answers; people and their"
        " motion are PoseTrack's labels, boxes in between and ids are the package's own",
        "measured": "processor seconds of one look and one crop: RT-DETR R50's and ViTPose-B's shapes with random"
        " weights, fp32, on one core",
        "settings": {name: asdict(setting) for name, setting in SETTINGS.items()},
        "seeds": list(SEEDS),
        "films": len(videos),
        "costs": price,
        "by_setting_and_every": rows,
    }
    write_result("video_on_demand", "what detection on demand saves and costs, by how often the detector looks", result)


if __name__ == "__main__":
    main()
