"""A small film, and a small model with random weights, for questions in which neither matters."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.base import FakeEngine
from vitpose.engines.choose import make_engine
from vitpose.media.frames import Frame, VideoInfo
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head

SIZE = Size(96, 128)
SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=2, heads=2),
    heads=(HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, deconv_width=16),),
    input_size=Size(64, 48),
)
PLACES = tuple((0.3 + 0.4 * (k % 2), 0.1 + 0.05 * k) for k in range(17))


def picture(t: int) -> NDArray[np.uint8]:
    """Two striped blocks on black; one walks through, the other comes and goes."""
    image = np.zeros((*SIZE, 3), np.uint8)
    stripes = (200 + 50 * (np.arange(30) // 3 % 2)).astype(np.uint8)[:, None, None]
    x = round(40 + 30 * np.sin(t / 20))
    image[10:40, x : x + 14] = stripes
    if t % 90 < 60:
        image[55:85, 20 + t % 60 : 34 + t % 60] = stripes[::-1]
    return image


class BlockDetector:
    """Finds bright regions."""

    name = "blocks"

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Boxes]:
        """Return the boxes of each picture."""
        found = []
        for image in images:
            _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 100).astype(np.uint8))
            boxes = [[x, y, x + w, y + h] for x, y, w, h, area in stats[1:].tolist() if area > 50]
            found.append(Boxes(np.array(boxes, np.float32).reshape(-1, 4), [0.9] * len(boxes)))
        return found


def random_estimator() -> PoseEstimator:
    """A transformer of two layers with random weights; its answers mean nothing and depend on every pixel."""
    model = create_model(SPEC, seed=0).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.mul_(30 if parameter.ndim > 1 else 1)
    skeleton = load_skeleton("coco17")
    engine = make_engine("eager-fp32", model, device="cpu")
    return PoseEstimator({"coco": Head(SPEC.heads[0], skeleton, engine)}, detector=BlockDetector())


def fake_estimator() -> PoseEstimator:
    """Everybody's keypoints at the same places of the box, at almost no cost."""
    head = SPEC.heads[0]
    heatmaps = Size(16, 12)
    codec = Codec.for_head(head, heatmaps)
    engine = FakeEngine(PLACES, input_size=SPEC.input_size, heatmap_size=heatmaps, codec=codec)
    return PoseEstimator({"coco": Head(head, load_skeleton("coco17"), engine)}, detector=BlockDetector())


@dataclass
class TinySource:
    """A film that is drawn while it is read, and so is as long as one likes."""

    count: int
    name: str = "tiny"
    info: VideoInfo = field(init=False)

    def __post_init__(self) -> None:
        self.info = VideoInfo(SIZE, 25.0, self.count, self.count / 25, audio=False, live=False)

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the frames above ``after``."""
        for t in range(after + 1, self.count):
            yield Frame(t, t / 25, picture(t))


def write_film(path: Path, count: int) -> None:
    """Write the film as a file, with uneven times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIZE.width, SIZE.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for t in range(count):
            frame = av.VideoFrame.from_ndarray(picture(t), format="rgb24")
            frame.pts, frame.time_base = 40 * t + 7 * (t % 3), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
