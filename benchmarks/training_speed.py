"""How fast is training against the same model from `transformers` in a plain loop?

    python benchmarks/training_speed.py --data FOLDER [--model vitpose-s] [--batch 16] [--threads 2] [--repeats 5]
    python benchmarks/training_speed.py --data FOLDER --device cuda --model vitpose-b --batch 64

Both sides train the same architecture (classic head, 256x192, no stochastic depth) on the same real people, from
pictures on disk to moved weights: read, crop, make targets, forward, backward, clip, AdamW. The plain loop is what one
writes around `transformers`: its processor crops people in a `DataLoader` (on a GPU in as many workers as this package
has threads), then one optimiser step; it is measured as it comes (float32) and in `torch.autocast` (bf16). Its targets
are drawn by this package's codec, which favours it. This package runs its own loop in both, without variation of the
crops. Sides take turns of several steps; each turn begins to load when its clock does, and leaves nothing behind that
would load on another's. Most of a step is matrix products that both sides leave to the same library: on a CPU that
bounds what a loop can win.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import interleaved, median_ratio, write_result
from torch.utils.data import DataLoader

from vitpose.codec.codec import Codec
from vitpose.core.geometry import CropTransform, Size, xyxy_to_xywh
from vitpose.data.augment import NONE
from vitpose.data.people import CropPlan
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.data.topdown import TopDown
from vitpose.media.images import read_image
from vitpose.models.variants import ModelSpec, published_spec
from vitpose.training.assemble import build_model, build_objective, make_accelerator
from vitpose.training.batches import StepBatches
from vitpose.training.config import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LoopConfig,
    ModelConfig,
    RunConfig,
    SetConfig,
)
from vitpose.training.optim import make_optimizer
from vitpose.training.step import Stepper

STEPS = {"cpu": 4, "cuda": 60}
"""Steps of one turn."""


def ours(
    spec: ModelSpec, people: LabelledSet, batch: int, workers: int, device: torch.device, *, bf16: bool
) -> Callable[[], None]:
    """One turn of this package's own loop."""
    backbone = spec.backbone
    config = RunConfig(
        name="speed",
        model=ModelConfig(
            name="speed",
            backbone=BackboneConfig(width=backbone.width, depth=backbone.depth, heads=backbone.heads),
            heads=(HeadConfig(dataset="coco", skeleton="coco17"),),
        ),
        data=DataConfig(train=(SetConfig(dataset="coco", images=""),)),
        loop=LoopConfig(batch_size=batch, precision="bf16" if bf16 else "fp32"),
    )
    accelerator = make_accelerator(config, cpu=device.type == "cpu")
    model, _ = build_model(config)
    objective = build_objective(config, model, {"coco": len(people)})
    optimizer = make_optimizer(objective, config.optim, backbone.depth)
    prepared, prepared_optimizer = accelerator.prepare(objective, optimizer)
    stepper = Stepper(
        accelerator=accelerator,
        objective=prepared,
        optimizer=prepared_optimizer,
        clip_norm=1.0,
        seed=0,
        micro_batch=0,
        notify=print,
    )
    source = TopDown.of(people, CropPlan(dataset="coco", size=spec.input_size, augmentation=NONE))
    batches = StepBatches(source=source, batch_size=batch, seed=0, workers=workers)
    done = 0

    def turn() -> None:
        nonlocal done
        steps = range(done, done + STEPS[device.type])
        for step, people_of_step in zip(steps, batches.stream(steps.start, steps.stop), strict=True):
            stepper(people_of_step.to(device), step)
        done = steps.stop
        if device.type == "cuda":
            torch.cuda.synchronize()

    return turn


def plain(
    spec: ModelSpec, people: LabelledSet, batch: int, workers: int, device: torch.device, *, bf16: bool
) -> Callable[[], None]:
    """One turn of a plain loop around `transformers`."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    backbone = VitPoseBackboneConfig(
        image_size=list(spec.input_size),
        patch_size=[16, 16],
        hidden_size=spec.backbone.width,
        num_hidden_layers=spec.backbone.depth,
        num_attention_heads=spec.backbone.heads,
        out_indices=[spec.backbone.depth],
    )
    model = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, num_labels=17, use_simple_decoder=False, scale_factor=4)
    ).train()
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.1)
    processor = VitPoseImageProcessorPil()
    order = np.random.default_rng(0)

    def collate(records: list[Any]) -> tuple[torch.Tensor, ...]:
        images = [read_image(record.image) for record in records]
        boxes = [[xyxy_to_xywh(record.box).tolist()] for record in records]
        pixels = processor(images, boxes=boxes, return_tensors="pt")["pixel_values"]
        return pixels, *targets_of(records, spec.input_size, spec.heatmap_size)

    def turn() -> None:
        chosen = order.integers(0, len(people), STEPS[device.type] * batch).tolist()
        loader = DataLoader(
            people.records,  # type: ignore[arg-type] # a sequence will do
            batch_size=batch,
            sampler=chosen,
            # On a CPU loaders would take cores from the steps: with two, the plain loop is a fifth slower for it.
            num_workers=workers if device.type == "cuda" else 0,
            collate_fn=collate,
            pin_memory=device.type == "cuda",
        )
        for loaded in loader:
            pixels, targets, weights = (part.to(device, non_blocking=True) for part in loaded)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                heatmaps = model(pixels).heatmaps
            loss = ((heatmaps.float() - targets) * weights[..., None, None]).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return turn


def targets_of(records: list[Any], crop: Size, heatmap: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Target heatmaps and weights of labelled people as evaluation sees them."""
    transform = CropTransform.from_boxes(np.stack([record.box for record in records]), crop)
    xy = transform.to_crop(np.stack([record.keypoints for record in records]))
    return Codec().encode(xy, np.stack([record.visibility for record in records]), crop, heatmap)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with coco/person_keypoints_train.json")
    parser.add_argument("--model", default="vitpose-s")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    device = torch.device(chosen.device)
    given = (chosen.batch, chosen.threads, device)
    people = read_labelled("coco", chosen.data / "coco" / "person_keypoints_train.json").for_training()
    spec = published_spec(chosen.model)
    spec = replace(spec, backbone=replace(spec.backbone, drop_path=0.0))
    sides = {
        "vitpose, float32": ours(spec, people, *given, bf16=False),
        "vitpose, bf16": ours(spec, people, *given, bf16=True),
        "transformers, float32": plain(spec, people, *given, bf16=False),
        "transformers, bf16": plain(spec, people, *given, bf16=True),
    }
    seconds = interleaved(sides, repeats=chosen.repeats)
    full, half, plain_full, plain_half = (seconds[name] for name in sides)
    count = STEPS[device.type] * chosen.batch
    write_result(
        f"training_speed_{chosen.model.removeprefix('vitpose-')}" + ("_gpu" if device.type == "cuda" else ""),
        "training: times faster than the same model from transformers in a plain loop",
        {
            "model": chosen.model,
            "batch": chosen.batch,
            "threads": chosen.threads,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "ratio_to_plain_loop": median_ratio(plain_full, half),
            "ratio_with_both_in_float32": median_ratio(plain_full, full),
            "ratio_with_both_in_bf16": median_ratio(plain_half, half),
            "people_per_s": {name: count / float(np.median(times)) for name, times in seconds.items()},
        },
    )


if __name__ == "__main__":
    main()
