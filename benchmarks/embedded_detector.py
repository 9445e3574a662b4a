"""How long does the embedded detector take for a 640 x 480 picture, beside the backbone it might have been?

CPU time of the process with one thread, so that other work on the machine does not count; weights are random, which
changes no time but that of the suppression.

    python benchmarks/embedded_detector.py
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from harness import write_result

from vitpose.core.geometry import Size
from vitpose.detectors.embedded import ONE_LOOK, EmbeddedDetector
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.models.variants import BACKBONES
from vitpose.models.vit import Backbone

REPEATS = 9


def cpu_seconds(side: Callable[[], object]) -> list[float]:
    side()
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        side()
        times.append(time.process_time() - began)
    return times


def main() -> None:
    torch.set_num_threads(1)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    net = PersonNet(DetectorSpec()).eval()
    detector = EmbeddedDetector(net, device="cpu", looks=ONE_LOOK)
    backbone = Backbone(BACKBONES["Ti"], Size(320, 416)).eval()
    images = torch.randn(1, 3, 320, 416)
    with torch.inference_mode():
        ours, theirs = cpu_seconds(lambda: detector([picture])), cpu_seconds(lambda: backbone(images))
    values = sum(value.numel() for value in net.state_dict().values())
    write_result(
        "embedded_detector",
        "CPU time of the embedded detector for a 640 x 480 picture, one thread",
        {
            "detector_s": {"median": statistics.median(ours), "min": min(ours), "max": max(ours)},
            "ti_backbone_alone_s": {"median": statistics.median(theirs), "min": min(theirs), "max": max(theirs)},
            "ratio": statistics.median(theirs) / statistics.median(ours),
            "float16_bytes": 2 * values,
        },
    )


if __name__ == "__main__":
    main()
