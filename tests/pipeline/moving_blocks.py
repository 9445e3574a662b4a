"""A film of bright blocks that move over black, a detector and an engine that see them, and fakes that fail.

Run as a program it works through a film: ``moving_blocks.py OUT FRAMES [--resume] [--slow] [--smooth METHOD]``.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes
from vitpose.core.skeleton import Skeleton
from vitpose.media.frames import Frame, VideoInfo
from vitpose.models.variants import HeadSpec
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline.estimator import Head, PoseEstimator
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.video_options import VideoOptions

SIZE = Size(128, 160)
CROP = Size(64, 48)
BLOCK = Skeleton(
    name="block",
    keypoints=("top_left", "top_right", "bottom_left", "bottom_right", "middle"),
    edges=(("top_left", "top_right"), ("bottom_left", "bottom_right")),
    sigmas=(0.1,) * 5,
)

Path2D = Callable[[int], tuple[float, float] | None]
"""Upper left corner of a block in frame number t; None while it is not in the picture."""

WALKERS: tuple[Path2D, ...] = (
    lambda t: (10 + 1.5 * t, 6) if t < 70 else None,
    lambda t: (120 - 1.2 * (t % 100 - 9), 98) if t >= 9 else None,
    lambda t: (70, 48 + (t % 8)) if 20 <= t % 90 < 60 else None,
)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def still_running() -> list[str]:
    """Threads of a film's stages; tests before may have left others."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("film-")]


def draw(paths: tuple[Path2D, ...], t: int) -> np.ndarray:
    image = np.zeros((*SIZE, 3), np.uint8)
    for number, path in enumerate(paths):
        place = path(t)
        if place is not None:
            x, y = (round(one) for one in place)
            image[max(y, 0) : max(y + 24, 0), max(x, 0) : max(x + 16, 0)] = 255 - 20 * number
    return image


@dataclass
class Blocks:
    """A source of ``count`` frames, three of four hundredths of a second apart; ``fails`` at one of them."""

    count: int = 100
    paths: tuple[Path2D, ...] = WALKERS
    stride: int = 1
    fails: tuple[int, BaseException] | None = None
    live: bool = False
    name: str = "blocks"
    slow_s: float = 0.0

    def __post_init__(self) -> None:
        self.info = VideoInfo(SIZE, 25.0, self.count, self.count / 25, audio=False, live=self.live)
        self.read: list[int] = []

    def frames(self, after: int = -1) -> Iterator[Frame]:
        for index in range(0, self.count, self.stride):
            if index <= after:
                continue
            if self.fails is not None and index == self.fails[0]:
                raise self.fails[1]
            self.read.append(index)
            time.sleep(self.slow_s)
            yield Frame(index, index / 25 + 0.01 * (index % 3), draw(self.paths, index))


class BlockDetector:
    """Finds connected bright regions; fails at its call number ``fails[0]``."""

    name = "blocks"

    def __init__(self, fails: tuple[int, BaseException] | None = None) -> None:
        self.pictures = 0
        self.fails = fails

    def __call__(self, images: list[np.ndarray]) -> list[Boxes]:
        self.pictures += len(images)
        if self.fails is not None and self.pictures >= self.fails[0]:
            raise self.fails[1]
        return [self._look(image) for image in images]

    @staticmethod
    def _look(image: np.ndarray) -> Boxes:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 128).astype(np.uint8))
        found = [[x - 3, y - 3, x + w + 2, y + h + 2] for x, y, w, h, area in stats[1:].tolist() if area > 30]
        return Boxes(np.array(found, np.float32).reshape(-1, 4), [0.9] * len(found))


class CornerEngine:
    """Answers with the corners and the middle of what is bright in the crop, and a little worse the larger the batch.

    No real engine's results depend on the batch as much, but all do by rounding; here it cannot be overlooked.
    """

    name = "corners"
    input_size = CROP
    heatmap_size = Size(32, 24)
    num_keypoints = 5

    def __init__(self, codec: Codec, fails: tuple[int, BaseException] | None = None) -> None:
        self.codec = codec
        self.fails = fails
        self.crops = 0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.crops += len(crops)
        if self.fails is not None and self.crops >= self.fails[0]:
            raise self.fails[1]
        points = np.zeros((len(crops), 5, 2), np.float32)
        seen = np.zeros((len(crops), 5), np.float32)
        for i, crop in enumerate(crops):
            rows, columns = np.nonzero(crop[..., 0] > 128)
            if len(rows) > 10:
                top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
                middle = ((left + right) / 2, (top + bottom) / 2)
                points[i] = [(left, top), (right, top), (left, bottom), (right, bottom), middle]
                seen[i] = 1
        heatmaps = self.codec.encode(torch.from_numpy(points), torch.from_numpy(seen), CROP, self.heatmap_size)[0]
        return np.ascontiguousarray(heatmaps.numpy() * np.float32(1 - 1e-3 * len(crops)))

    def close(self) -> None:
        pass


def block_estimator(
    *, detector: BlockDetector | None = None, fails: tuple[int, BaseException] | None = None
) -> PoseEstimator:
    spec = HeadSpec(dataset="blocks", skeleton="block", keypoints=5)
    engine = CornerEngine(Codec.for_head(spec, CornerEngine.heatmap_size), fails)
    return PoseEstimator({"blocks": Head(spec, BLOCK, engine)}, detector=detector or BlockDetector())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("frames", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--smooth", default="none")
    arguments = parser.parse_args()
    options = VideoOptions(
        detect_every=4,
        smoothing=SmoothingSettings(method=arguments.smooth),
        formats=("json", "overlay", "csv"),
        resume=arguments.resume,
    )
    source = replace(Blocks(arguments.frames), slow_s=arguments.slow)
    summary = predict_video(block_estimator(), source, out=arguments.out, options=options)
    sys.stdout.write(f"{summary.frames}\n")


if __name__ == "__main__":
    main()
