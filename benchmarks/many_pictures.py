"""How near does a run over many pictures come to its slowest stage, and does memory stay flat?

    python benchmarks/many_pictures.py PICTURES BOXES [--model random:vitpose-ti] [--engine openvino-bf16]

PICTURES is a folder, BOXES a COCO file about it. 200 of its pictures go from file to JSON with the boxes of the labels,
in turns with each stage alone: decoding the files, cutting the people out, the model on the crops, decoding the
heatmaps, writing the results. The fraction is the time of the slowest stage alone over that of the whole run. On a CPU
the stages share the cores, so the other number counts processor time: the model's over that of the whole run.

Memory: the largest size of a process while it works on 30 and on 300 pictures, and on one picture with 50 and with
5,000 boxes, less what it was before, after its first batch (Linux tells; looked at fifty times a second).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import write_result

import vitpose
from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform
from vitpose.core.poses import Boxes
from vitpose.detectors.given import GivenBoxes
from vitpose.formats.results import JsonWriter, Origin
from vitpose.media.images import read_image
from vitpose.media.sources import expand_sources
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.predict import predict_sources

BATCH = 32
MEMORY = {"30 pictures": (30, 0), "300 pictures": (300, 0), "50 boxes": (1, 50), "5000 boxes": (1, 5000)}


def load(model: str, engine: str) -> PoseEstimator:
    return vitpose.load(model, engine=engine, device="cpu", detector=None)


def stages(estimator: PoseEstimator, files: list[str], given: GivenBoxes) -> dict[str, Callable[[], object]]:
    """Return the whole run and each stage alone, on what the stage before made."""
    head, size = estimator.head, estimator.engine.input_size
    images = [read_image(path) for path in files]
    boxes = [given.boxes_for(path, image.shape[:2]) for path, image in zip(files, images, strict=True)]

    def cut(image: np.ndarray, people: Boxes) -> tuple[CropTransform, np.ndarray]:
        transform = CropTransform.from_boxes(people.xyxy, size, convention=head.codec, square=head.square_box)
        return transform, transform.warp(image)

    crops = np.concatenate([cut(*pair)[1] for pair in zip(images, boxes, strict=True)])
    batches = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    heatmaps = [estimator.engine(batch) for batch in batches]
    codec = Codec.for_head(head, estimator.engine.heatmap_size)
    poses = estimator(images, boxes=boxes)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            writer = JsonWriter(Path(folder))
            for path, found in zip(files, poses, strict=True):
                writer.add(Origin(name=Path(path).stem, source=path, image_id=Path(path).stem), found)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            done = predict_sources(estimator, expand_sources(files), out=Path(folder), given=given)
        assert (done.pictures, done.people) == (len(files), len(crops))

    return {
        "whole": whole,
        "read": lambda: [read_image(path) for path in files],
        "cut": lambda: [cut(*pair) for pair in zip(images, boxes, strict=True)],
        "model": lambda: [estimator.engine(batch) for batch in batches],
        "decode": lambda: [codec.decode(found, size) for found in heatmaps],
        "write": write,
    }


def timed(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each side, taking turns, by the clock and of the processor."""
    clock: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            start, used = time.perf_counter(), time.process_time()
            side()
            if turn:
                clock[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - used)
    return {
        name: {"clock_s": statistics.median(clock[name]), "processor_s": statistics.median(processor[name])}
        for name in sides
    }


def resident() -> float:
    """Return how many MiB this process has in memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class Watch:
    """Looks at the size of this process all the time."""

    def __init__(self) -> None:
        self.before = self.most = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, resident())


def peak(case: str, model: str, engine: str, given: GivenBoxes, files: list[str]) -> float:
    """Return by how many MiB this process grows."""
    count, people = MEMORY[case]
    estimator = load(model, engine)
    image = read_image(files[0])
    many = np.random.default_rng(0).uniform([0, 0, 60, 90], [50, 50, 200, 300], (max(people, BATCH), 4))
    estimator(image, boxes=many[:BATCH])
    with Watch() as watch:
        if people:
            assert len(estimator(image, boxes=many)) == people
        else:
            with tempfile.TemporaryDirectory() as folder:
                predict_sources(estimator, expand_sources(files[:count]), out=Path(folder), given=given)
    return watch.most - watch.before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--model", default="random:vitpose-ti")
    parser.add_argument("--engine", default="openvino-bf16")
    parser.add_argument("--count", type=int, default=200, help="pictures")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--case", choices=MEMORY)
    asked = parser.parse_args()
    given = GivenBoxes.from_file(asked.boxes)
    known = [str(path) for path in sorted(asked.pictures.glob("*.jpg")) if given.image_id(str(path)) is not None]
    if asked.case:
        print(json.dumps(peak(asked.case, asked.model, asked.engine, given, known)))
        return
    estimator = load(asked.model, asked.engine)
    files = [path for path in known if len(given.boxes_for(path, read_image(path).shape[:2]))][: asked.count]
    found = timed(stages(estimator, files, given), asked.repeats)
    alone = {name: times for name, times in found.items() if name != "whole"}
    slowest = max(alone, key=lambda name: alone[name]["clock_s"])
    growth = {}
    for case in MEMORY:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", case]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        growth[case] = round(float(done.stdout.splitlines()[-1]), 1)
    write_result(
        f"many_pictures_{estimator.engine.name}",
        "a run over 200 pictures: fraction of its slowest stage, share of the model in processor time, memory",
        {
            "model": asked.model,
            "engine": estimator.engine.name,
            "pictures": len(files),
            "slowest": slowest,
            "fraction_of_slowest": alone[slowest]["clock_s"] / found["whole"]["clock_s"],
            "model_share_of_processor_time": found["model"]["processor_s"] / found["whole"]["processor_s"],
            "seconds": found,
            "more_memory_mib": growth,
        },
    )


if __name__ == "__main__":
    main()
