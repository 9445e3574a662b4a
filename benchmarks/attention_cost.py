"""Windows of attention, stride 8 and larger inputs: multiply-accumulates, memory and time of ViTPose-B.

    python benchmarks/attention_cost.py [--threads 1]

Each case is a process of its own, so that its peak memory is its own: the process's largest size while one crop runs,
less that before. The paper's table (Xu et al. 2022, attention at 1/8 resolution) gives training memory on a GPU and
multiply-accumulates of the backbone; the latter are directly comparable.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from harness import write_result

from vitpose.core.geometry import Size
from vitpose.engines.eager import EagerEngine
from vitpose.models.attention import alternate
from vitpose.models.cost import count_macs
from vitpose.models.pose import create_model

WINDOW, LARGE = Size(8, 8), Size(16, 12)
CASES = {
    "256x192, stride 16, full": ({}, None),
    "384x288, stride 16, full": ({"input_size": Size(384, 288)}, None),
    "576x432, stride 16, full": ({"input_size": Size(576, 432)}, None),
    "256x192, stride 8, full": ({"stride": 8}, 76.59),
    "256x192, stride 8, window 8x8": ({"stride": 8, "attention": alternate("window", WINDOW, 12)}, 66.31),
    "256x192, stride 8, shifted 8x8": ({"stride": 8, "attention": alternate("shifted", WINDOW, 12)}, 66.31),
    "256x192, stride 8, pooled 8x8": ({"stride": 8, "attention": alternate("pooled", WINDOW, 12)}, 66.39),
    "256x192, stride 8, shifted+pooled 8x8": (
        {"stride": 8, "attention": alternate("shifted+pooled", WINDOW, 12)},
        66.39,
    ),
    "256x192, stride 8, shifted+pooled 16x12": (
        {"stride": 8, "attention": alternate("shifted+pooled", LARGE, 12)},
        68.52,
    ),
}


def one(name: str) -> dict[str, float]:
    parts, _ = CASES[name]
    model = create_model("vitpose-b", seed=0, **parts).eval()
    engine = EagerEngine(model, device="cpu", dtype="fp32")
    crops = np.zeros((1, *model.spec.input_size, 3), dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(4):
        start = time.perf_counter()
        engine(crops)
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "gmacs_backbone": count_macs(model.spec).backbone / 1e9,
        "ms_a_crop": 1000 * min(times[1:]),
        "memory_mib": (after - before) / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.case:
        print(json.dumps(one(given.case)))
        return
    rows = {}
    for name, (_, paper) in CASES.items():
        command = [sys.executable, __file__, "--case", name, "--threads", str(given.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[name] = json.loads(done.stdout.splitlines()[-1]) | ({"gmacs_paper": paper} if paper else {})
    write_result(
        "attention_cost",
        "cost of ViTPose-B by input size, stride and attention",
        {"threads": given.threads, "rows": rows},
    )


if __name__ == "__main__":
    main()
