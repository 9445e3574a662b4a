"""How long does a model take a person on each engine, against `transformers` on the same weights, in one run?

    python benchmarks/engines_speed.py [MODEL] [--device cuda] [--int8 PICTURES BOXES]

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
from vitpose.engines.choose import candidates, machine
from vitpose.engines.export import Target, export, open_exported
from vitpose.engines.gate import Limits
from vitpose.pipeline import bench
from vitpose.pipeline.assemble import find_model
from vitpose.pipeline.crops import collect_crops


def int8_rows(loaded, pictures: str, boxes: str, folder: str, settings: bench.Settings) -> dict:
    """Export to int8 and measure the file beside fp32 PyTorch."""
    head = loaded.model.spec.head()
    crops = collect_crops([pictures], head, loaded.model.spec.input_size, given=GivenBoxes.from_file(boxes), limit=32)
    random = loaded.name.startswith("random:")
    limits = Limits(p50=1e9, p99=1e9, keypoint_p50=1e9, oks=1e9) if random else Limits()
    path = Path(folder) / "int8.xml"
    target = Target(to="openvino", precision="int8")
    report = export(
        loaded.model, path, skeleton=loaded.skeletons[head.dataset], crops=crops, target=target, limits=limits
    )
    engine = open_exported(path)
    rows = bench.measure_one(engine, loaded.model, settings)
    return {
        "gate": "not asked: random weights" if random else report.summary,
        "kept": engine.description.kept,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="random:vitpose-b")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--people", default="1,8,20")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--int8", nargs=2, metavar=("PICTURES", "BOXES"))
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
    found = bench.bench(loaded.model, loaded.skeletons[head.dataset], settings)
    if given.int8:
        with tempfile.TemporaryDirectory() as folder:
            found["int8"] = int8_rows(loaded, *given.int8, folder, settings)
    name = f"engines_speed_{loaded.model.spec.name.removeprefix('vitpose-')}_{given.device.partition(':')[0]}"
    write_result(
        name,
        "milliseconds a person by engine, and times faster than transformers as documented on the same weights",
        {"settings": machine(), **found},
    )


if __name__ == "__main__":
    main()
