"""The GPU path: throughput against the card's own matmul rate, batch-1 latency, float8, and `transformers`.

    python benchmarks/gpu_study.py [--sizes s,b,l,h]

Random weights: how long arithmetic takes does not depend on them. For each size it measures

- crops in the card's memory to keypoints in the card's memory, batch 256, eager and compiled, in bf16, as a fraction of
  the fastest large bf16 matrix product seen in the same run;
- batch 1 through a captured graph, median latency;
- the same with float8 linear layers (per-tensor scales), and how far its keypoints move;
- a 1080p picture with 20 people to keypoints, against `transformers` as documented on the same card;
- keypoints against the CPU in fp32.

Needs a CUDA device; takes about ten minutes for all four sizes.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import write_result
from torch import Tensor, nn

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.compiled import Captured
from vitpose.engines.deploy import DeployModel
from vitpose.engines.eager import EagerEngine
from vitpose.engines.gate import compare
from vitpose.engines.graph import EndToEnd
from vitpose.engines.ondevice import OnDevice
from vitpose.models.cost import count_macs
from vitpose.models.pose import VitPose, create_model
from vitpose.pipeline.bench import Scene, matmul_peak
from vitpose.pipeline.peer import TransformersPeer

DEVICE = torch.device("cuda", 0)
BATCH = 256
SKELETON = load_skeleton("coco17")


class Float8Linear(nn.Module):
    """A linear layer with float8 weights and inputs, one scale a tensor, accumulated in float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        largest = linear.weight.detach().abs().max().float() / torch.finfo(torch.float8_e4m3fn).max
        self.weight = (linear.weight.detach().float() / largest).to(torch.float8_e4m3fn)
        self.bias, self.scale = linear.bias, largest

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(batch, tokens, channels)``."""
        flat = tokens.flatten(0, -2)
        scale = flat.abs().amax().float() / torch.finfo(torch.float8_e4m3fn).max
        small = (flat / scale.to(flat.dtype)).to(torch.float8_e4m3fn)
        out = torch._scaled_mm(
            small, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias, out_dtype=tokens.dtype
        )
        return out.unflatten(0, tokens.shape[:-1])


class Points(nn.Module):
    """Crops to keypoints: ``(people, keypoints, 3)`` x, y in crop pixels and score."""

    def __init__(self, whole: EndToEnd) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, crops: Tensor) -> Tensor:
        """Map ``(people, height, width, 3)`` uint8."""
        xy, scores, _ = self.whole(crops)
        return torch.cat([xy, scores[..., None]], dim=-1)


def with_float8(model: VitPose) -> VitPose:
    """Return a copy whose blocks have float8 linear layers."""
    small = copy.deepcopy(model)
    for block in small.backbone.blocks:
        block.qkv, block.proj = Float8Linear(block.qkv), Float8Linear(block.proj)
        block.ffn.fc1, block.ffn.fc2 = Float8Linear(block.ffn.fc1), Float8Linear(block.ffn.fc2)
    return small


def seconds(run: Callable[[], Any], repeats: int) -> list[float]:
    """Time calls one by one, each to the end of its work on the card."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return found


def study(size: str, peak: float) -> dict[str, Any]:
    spec = create_model(f"vitpose-{size}", seed=0).eval()
    model = copy.deepcopy(spec).to(DEVICE, torch.bfloat16)
    codec = Codec.for_head(spec.spec.head(), spec.spec.heatmap_size)
    macs = count_macs(spec.spec).total
    crops = torch.randint(0, 256, (BATCH, *spec.spec.input_size, 3), dtype=torch.uint8, device=DEVICE)
    row: dict[str, Any] = {"size": size, "gmacs": macs / 1e9}

    versions: dict[str, VitPose] = {"bf16": model}
    if hasattr(torch, "_scaled_mm"):
        versions["float8"] = with_float8(model)
    with torch.inference_mode():
        for name, version in versions.items():
            points = Points(EndToEnd(DeployModel(version), codec)).eval()
            fast = torch.compile(points, dynamic=False, fullgraph=True)
            for how, run in (("eager", points), ("compiled", fast)):
                try:
                    took = statistics.median(seconds(partial(run, crops), 20))
                except Exception as error:  # a study writes down what did not work
                    row[f"{how}_{name}"] = f"failed: {str(error)[:200]}"
                    continue
                rate = 2 * macs * BATCH / took / 1e9
                row[f"{how}_{name}"] = {"people_a_second": BATCH / took, "gflops": rate, "fraction": rate / peak}
            captured = Captured.of(fast, 1, spec.spec.input_size, DEVICE)
            one = crops[:1].cpu().pin_memory()
            took_one = seconds(lambda captured=captured, one=one: captured(one).cpu(), 100)
            row[f"batch_1_ms_{name}"] = 1000 * statistics.median(took_one)
    row["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    row |= against_transformers(spec, codec)
    few = crops[:32].cpu().numpy()
    reference = EagerEngine(spec, device="cpu", dtype="fp32")
    row["gate_bf16"] = compare(reference, EagerEngine(spec), few, skeleton=SKELETON, codec=codec).summary
    return row


def against_transformers(model: VitPose, codec: Codec) -> dict[str, Any]:
    """A picture with 20 people, in turns."""
    scene = Scene.made_up(20)
    ours, theirs = OnDevice(EagerEngine(model), codec), TransformersPeer(model, SKELETON, device="cuda")
    transform = CropTransform.from_boxes(scene.boxes, model.spec.input_size)
    ratios = []
    for _ in range(12):
        fast = seconds(lambda: ours(scene.image, transform), 1)[0]
        slow = seconds(lambda: theirs(scene.image, scene.boxes), 1)[0]
        ratios.append((slow / fast, fast, slow))
    middle = [statistics.median(column) for column in zip(*ratios, strict=True)]
    return {
        "picture_of_20": {"times_faster": middle[0], "ours_ms": 1000 * middle[1], "transformers_ms": 1000 * middle[2]}
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="s,b,l,h")
    sizes = parser.parse_args().sizes.split(",")
    peak = matmul_peak("bf16", "cuda", repeats=30)
    rows = []
    for size in sizes:
        torch.cuda.reset_peak_memory_stats()
        rows.append(study(size, peak))
        torch.compiler.reset()
    gpu = torch.cuda.get_device_name()
    write_result(
        "gpu_study",
        "throughput as a fraction of the card's matmul rate, latency of one crop, float8, and times faster than"
        " transformers on the same card",
        {"gpu": gpu, "matmul_peak_bf16_gflops": peak, "batch": BATCH, "rows": rows},
    )


if __name__ == "__main__":
    main()
