"""People that are three coloured spots, and an engine that sees exactly those."""

import numpy as np
import torch

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options

SIZE = Size(128, 96)
SPOTS = Skeleton(name="spots", keypoints=("red", "green", "blue"))


class SpotEngine:
    """Answers with heatmaps whose peaks lie on the red, the green and the blue spot of each crop."""

    name = "spots"
    input_size = SIZE
    heatmap_size = Size(32, 24)
    num_keypoints = 3

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.batches: list[int] = []

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.batches.append(len(crops))
        rows, columns = np.mgrid[: SIZE.height, : SIZE.width]
        mass = crops.astype(np.float64) + 1e-9
        total = mass.sum(axis=(1, 2))
        x = (columns[None, :, :, None] * mass).sum(axis=(1, 2)) / total
        y = (rows[None, :, :, None] * mass).sum(axis=(1, 2)) / total
        seen = torch.from_numpy((total > 1).astype(np.float32))
        points = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))
        return self.codec.encode(points, seen, SIZE, self.heatmap_size)[0].numpy()

    def close(self) -> None:
        pass


def estimator(convention: str = "udp", **options: object) -> PoseEstimator:
    spec = HeadSpec(dataset="spots", skeleton="spots", keypoints=3, codec=convention)  # type: ignore[arg-type]
    engine = SpotEngine(Codec.for_head(spec, SpotEngine.heatmap_size))
    return PoseEstimator({"spots": Head(spec, SPOTS, engine)}, options=Options(**options))  # type: ignore[arg-type]


def picture(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People side by side, each with three coloured spots; returns the picture, boxes and true points."""
    rng = np.random.default_rng(seed)
    image = np.zeros((160, 200 * max(people, 1), 3), np.uint8)
    boxes, points = [], []
    for person in range(people):
        left = 200 * person + 60
        boxes.append([left, 30, left + 75, 130])
        places = rng.integers([left + 8, 40], [left + 66, 120], (3, 2))
        for channel, (x, y) in enumerate(places):
            image[y - 3 : y + 4, x - 3 : x + 4, channel] = 255
        points.append(places)
    return image, np.array(boxes, float).reshape(-1, 4), np.array(points, float).reshape(-1, 3, 2)
