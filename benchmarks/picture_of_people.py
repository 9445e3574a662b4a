"""How long is it from a picture file with 20 people to a JSON file with their keypoints, against `transformers`?

    python benchmarks/picture_of_people.py PICTURES BOXES [--model random:vitpose-b] [--people 20] [--repeats 7]

PICTURES is a folder, BOXES a COCO file about it; the picture with the most people is taken, and its boxes, shifted a
little, fill up to the number. Both sides open the file, cut the people out, run the same weights, find the keypoints
and write a file of their own: ours with an estimator and its writer, theirs with the processor, model and
post-processing its documentation shows, in float32. All take turns. With random weights the gate would compare noise,
so `auto` stands for the fastest of ours here, and the result says so; with trained ones it is what `auto` chooses.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import median_ratio, write_result
from numpy.typing import NDArray
from PIL import Image

import vitpose
from vitpose.core.geometry import CropTransform, Size
from vitpose.detectors.given import GivenBoxes
from vitpose.engines.base import Crops, Engine, Heatmaps
from vitpose.engines.choose import candidates, choose_engine, machine, make_engine
from vitpose.formats.results import JsonWriter, Origin
from vitpose.media.images import read_image
from vitpose.pipeline.assemble import find_model
from vitpose.pipeline.bench import take_turns
from vitpose.pipeline.peer import TransformersPeer
from vitpose.weights.load import LoadedModel

Boxes = NDArray[np.float64]


class Clocked:
    """An engine that says how long it has run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.input_size, self.heatmap_size = engine.name, engine.input_size, engine.heatmap_size
        self.num_keypoints = engine.num_keypoints
        self.seconds = 0.0

    def __call__(self, crops: Crops) -> Heatmaps:
        """Run it."""
        start = time.perf_counter()
        heatmaps = self._engine(crops)
        self.seconds += time.perf_counter() - start
        return heatmaps

    def close(self) -> None:
        """Close it."""
        self._engine.close()


def crowd(pictures: Path, boxes: Path, people: int) -> tuple[Path, Boxes]:
    """Return the picture with the most people and so many boxes in it."""
    given = GivenBoxes.from_file(boxes)
    files = sorted(pictures.glob("*.jpg"))
    sizes = [len(given.boxes_for(str(path), (10_000, 10_000))) for path in files]
    path = files[int(np.argmax(sizes))]
    image = read_image(path)
    known = given.boxes_for(str(path), image.shape[:2]).xyxy.astype(np.float64)
    rng = np.random.default_rng(0)
    repeated = np.resize(known, (people, 4))
    extent = np.tile(repeated[:, 2:] - repeated[:, :2], 2)
    shifted = repeated + 0.05 * extent * np.repeat(rng.uniform(-1, 1, (people, 2)), 2, axis=1)[:, [0, 2, 1, 3]]
    shifted[: len(known)] = known[:people]
    return path, shifted


def ours(loaded: LoadedModel, name: str, path: Path, boxes: Boxes, out: Path) -> Callable[[], dict[str, float]]:
    clocked = Clocked(make_engine(name, loaded.model, device="cpu"))
    estimator = vitpose.load(loaded.model, engine=clocked, detector=None)
    writer, origin = JsonWriter(out / name), Origin(name=path.stem, source=str(path), image_id=path.stem)

    def turn() -> dict[str, float]:
        clocked.seconds, times = 0.0, [time.perf_counter()]
        image = read_image(path)
        times.append(time.perf_counter())
        poses = estimator(image, boxes=boxes)
        times.append(time.perf_counter())
        writer.add(origin, poses)
        times.append(time.perf_counter())
        read, estimated, write = np.diff(times).tolist()
        stages = {"read": read, "model": clocked.seconds, "around": estimated - clocked.seconds, "write": write}
        return stages | {"total": times[-1] - times[0]}

    return turn


def theirs(loaded: LoadedModel, path: Path, boxes: Boxes, out: Path) -> Callable[[], dict[str, float]]:
    head = loaded.model.spec.head()
    peer = TransformersPeer(loaded.model, loaded.skeletons[head.dataset])
    out.mkdir(parents=True)

    def turn() -> dict[str, float]:
        times = [time.perf_counter()]
        image = np.asarray(Image.open(path).convert("RGB"))
        times.append(time.perf_counter())
        inputs = peer.before(image, boxes)
        times.append(time.perf_counter())
        outputs = peer.run(inputs)
        times.append(time.perf_counter())
        people = peer.after(outputs, boxes)
        times.append(time.perf_counter())
        plain = [{name: np.asarray(value).tolist() for name, value in person.items()} for person in people]
        (out / f"{path.stem}.json").write_text(json.dumps(plain))
        times.append(time.perf_counter())
        read, before, model, after, write = np.diff(times).tolist()
        stages = {"read": read, "model": model, "around": before + after, "write": write}
        return stages | {"total": times[-1] - times[0]}

    return turn


def chosen(loaded: LoadedModel, path: Path, boxes: Boxes, fastest: str) -> tuple[str, str]:
    """Return what `auto` runs, and why."""
    if loaded.name.startswith("random:"):
        return fastest, "the fastest; the gate is not asked, for the weights are random"
    head = loaded.model.spec.head()
    size: Size = loaded.model.spec.input_size
    crops = CropTransform.from_boxes(boxes, size, convention=head.codec, square=head.square_box).warp(read_image(path))
    choice = choose_engine(loaded.model, crops, skeleton=loaded.skeletons[head.dataset], device="cpu")
    return choice.name, choice.summary


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--model", default="random:vitpose-b")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    path, boxes = crowd(given.pictures, given.boxes, given.people)
    loaded = find_model(given.model, None, None)
    names = [name for name in candidates("cpu") if name.startswith(("eager-fp32", "openvino"))]
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: ours(loaded, name, path, boxes, Path(folder)) for name in names}
        sides["transformers"] = theirs(loaded, path, boxes, Path(folder) / "transformers")
        turns = take_turns(sides, given.repeats)
    total = {name: [turn["total"] for turn in rows] for name, rows in turns.items()}
    auto, why = chosen(loaded, path, boxes, min(names, key=lambda name: float(np.median(total[name]))))
    middle = {
        name: {stage: 1000 * float(np.median([turn[stage] for turn in rows])) for stage in rows[0]}
        for name, rows in turns.items()
    }
    write_result(
        "picture_of_people",
        "from a picture file to a JSON file: times faster than transformers as documented on the same weights",
        {
            "settings": machine(),
            "model": loaded.name,
            "people": given.people,
            "auto": auto,
            "auto_because": why,
            "times_faster": {name: median_ratio(total["transformers"], total[name]) for name in names},
            "milliseconds_by_stage": middle,
        },
    )


if __name__ == "__main__":
    main()
