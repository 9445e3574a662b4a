"""A tiny model, a tiny run and people made of coloured dots, so that every test of the loop takes a moment."""

from dataclasses import dataclass

import numpy as np
import torch

from vitpose.data.batch import Batch
from vitpose.training.config import RunConfig
from vitpose.training.recipe import parse_config

TINY = """
name = "tiny"
seed = 3

[model]
name = "tiny"
input_size = [64, 48]

[model.backbone]
width = 32
depth = 2
heads = 2
drop_path = 0.2

[[model.heads]]
dataset = "body"
skeleton = "body14"
kind = "simple"

[data]
workers = 0

[[data.train]]
dataset = "body"
images = "images"
annotations = "labels.json"

[optim]
lr = 1e-3
layer_decay = 0.75

[schedule]
kind = "cosine"
epochs = 3
warmup_steps = 2

[loop]
batch_size = 4
save_every = 2
log_every = 1
evaluate_every = 1
"""


@dataclass(frozen=True)
class Dots:
    """People that are noise with one bright dot a keypoint; the same index and seed always give the same crop."""

    people: int = 12
    keypoints: int = 14
    size: tuple[int, int] = (64, 48)
    datasets: tuple[str, ...] = ("body",)
    broken: int = -1

    def __len__(self) -> int:
        return self.people

    def name_of(self, index: int) -> str:
        return f"picture{index}.jpg person {index}"

    def draw(self, indices: np.ndarray, seeds: np.ndarray) -> Batch:
        made = [self._one(int(index), int(seed)) for index, seed in zip(indices, seeds, strict=True)]
        return Batch(
            crops=torch.from_numpy(np.stack([crop for crop, _ in made])),
            xy=torch.from_numpy(np.stack([xy for _, xy in made])),
            weights=torch.ones(len(made), self.keypoints),
            datasets=tuple(self.datasets[int(index) % len(self.datasets)] for index in indices),
            records=tuple(int(index) for index in indices),
        )

    def _one(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.size
        fixed, varied = np.random.default_rng(index), np.random.default_rng(seed)
        xy = fixed.uniform((4, 4), (width - 5, height - 5), (self.keypoints, 2)).astype(np.float32)
        crop = varied.integers(0, 60, (height, width, 3), dtype=np.uint8)
        for number, (x, y) in enumerate(xy.round().astype(int)):
            crop[y - 1 : y + 2, x - 1 : x + 2] = (255, 14 * number, 255 - 14 * number)
        if index == self.broken:
            xy = np.full_like(xy, np.nan)
        return crop, xy


def tiny(*changes: str) -> RunConfig:
    return parse_config(TINY, "tiny.toml", changes)
