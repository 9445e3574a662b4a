"""How long does a model take a person on each engine, against `transformers` on the same weights, in one run?

    python benchmarks/engines_speed.py [MODEL] [--device cuda] [--int8 PICTURES BOXES [--int8-file FILE]]

One picture with 1, 8 and 20 people; every engine and `transformers` (float32, its processor and post-processing, as
documented) take turns. `--int8` also exports to int8, calibrated on people in PICTURES (boxes from the file BOXES);
with weights that mean nothing the gate is not asked, and the result says so. The limit of the hardware is the fastest
large matrix product measured in the same run.
"""

import argparse
import tempfile
from pathlib import Path

from harness import write_result

from vitpose.detectors.given import GivenBoxes
from vitpose.engines.base import Engine
from vitpose.engines.choose import candidates, machine
from vitpose.engines.export import Target, export, open_exported
from vitpose.engines.gate import Limits
from vitpose.pipeline import bench
from vitpose.pipeline.assemble import find_model
from vitpose.pipeline.crops import collect_crops
from vitpose.weights.load import LoadedModel


def int8_engine(loaded: LoadedModel, pictures: str, boxes: str, path: Path) -> tuple[Engine, str]:
    """Return the int8 export of a model, made if it is not there, and what the gate says about it."""
    head = loaded.model.spec.head()
    size = loaded.model.spec.input_size
    random = loaded.name.startswith("random:")
    verdict = "not asked: random weights"
    if not path.is_file():
        crops = collect_crops([pictures], head, size, given=GivenBoxes.from_file(boxes), limit=32)
        limits = Limits(p50=1e9, p99=1e9, keypoint_p50=1e9, oks=1e9) if random else Limits()
        target = Target(to="openvino", precision="int8")
        skeleton = loaded.skeletons[head.dataset]
        report = export(loaded.model, path, skeleton=skeleton, crops=crops, target=target, limits=limits)
        verdict = verdict if random else report.summary
    return open_exported(path), verdict


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="random:vitpose-b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--people", default="1,8,20")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--int8", nargs=2, metavar=("PICTURES", "BOXES"))
    parser.add_argument("--int8-file", type=Path, default=Path(tempfile.gettempdir()) / "engines_speed_int8.xml")
    given = parser.parse_args()
    loaded = find_model(given.model, None, None)
    settings = bench.Settings(
        engines=candidates(given.device),
        batches=tuple(map(int, given.people.split(","))),
        repeats=given.repeats,
        device=given.device,
        transformers=True,
    )
    head = loaded.model.spec.head()
    extra, verdict = {}, None
    if given.int8:
        extra["openvino-int8"], verdict = int8_engine(loaded, *given.int8, given.int8_file)
    found = bench.bench(loaded.model, loaded.skeletons[head.dataset], settings, extra=extra) | {"int8_gate": verdict}
    name = f"engines_speed_{loaded.model.spec.name.removeprefix('vitpose-')}_{given.device.partition(':')[0]}"
    write_result(
        name,
        "milliseconds a person by engine, and times faster than transformers as documented on the same weights",
        {"settings": machine(), **found},
    )


if __name__ == "__main__":
    main()
