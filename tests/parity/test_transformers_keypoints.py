"""Boxes and heatmaps to keypoints, against the processor of `transformers`; and its defects, which ours has not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size, xyxy_to_xywh
from vitpose.core.skeleton import Skeleton
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options

CROP, HEATMAP = Size(256, 192), Size(64, 48)
BLANK = np.zeros((480, 640, 3), np.uint8)


class GivenHeatmaps:
    """An engine that answers with the heatmaps it was given, in order."""

    name = "given"
    input_size = CROP
    heatmap_size = HEATMAP

    def __init__(self, heatmaps: torch.Tensor) -> None:
        self.heatmaps = heatmaps.numpy()
        self.num_keypoints = heatmaps.shape[1]
        self.start = 0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.start += len(crops)
        return self.heatmaps[self.start - len(crops) : self.start]

    def close(self) -> None:
        pass


def answers(people: int, keypoints: int, seed: int = 0) -> torch.Tensor:
    """Heatmaps with one peak each, some weak, at least 6 heatmap pixels from the border, and a little noise."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform([24, 24], [CROP.width - 25, CROP.height - 25], (people, keypoints, 2))
    maps, _ = Codec().encode(xy, np.ones((people, keypoints)), CROP, HEATMAP)
    height = torch.from_numpy(rng.uniform(0.15, 1.0, (people, keypoints, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.002, maps.shape).astype(np.float32))
    return maps * height + noise


def boxes_for(people: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corner = rng.uniform([0, 0], [400, 300], (people, 2))
    return np.concatenate([corner, corner + rng.uniform(12, 170, (people, 2))], axis=1)


def theirs(heatmaps: torch.Tensor, boxes: np.ndarray, threshold: float | None = None) -> list[dict]:
    processor = VitPoseImageProcessorPil()
    found = processor.post_process_pose_estimation(
        SimpleNamespace(heatmaps=heatmaps), boxes=[xyxy_to_xywh(boxes).tolist()], threshold=threshold
    )
    return found[0]


def ours(heatmaps: torch.Tensor, boxes: np.ndarray, **options: object):
    names = tuple(f"point {index}" for index in range(heatmaps.shape[1]))
    spec = HeadSpec(dataset="points", skeleton="points", keypoints=len(names))
    head = Head(spec, Skeleton("points", names), GivenHeatmaps(heatmaps))
    return PoseEstimator({"points": head}, options=Options(**options))(BLANK, boxes=boxes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_keypoints_agree_to_a_thousandth_of_a_pixel(seed):
    heatmaps, boxes = answers(20, 17, seed), boxes_for(20, seed)
    expected = theirs(heatmaps, boxes)
    poses = ours(heatmaps, boxes, decode_sigma=0.8)
    wanted = np.stack([person["keypoints"] for person in expected])
    assert np.abs(poses.xy - wanted).max() < 1e-3
    np.testing.assert_allclose(poses.scores, np.stack([person["scores"] for person in expected]), atol=1e-6)
    # The blur of the papers is another one, so agreement above is not for want of differences.
    assert np.abs(ours(heatmaps, boxes).xy - wanted).max() > 1e-2


def test_boxes_come_back_as_they_were_given():
    """Theirs are (centre, size / 200 + centre - 1): no box at all."""
    heatmaps, boxes = answers(5, 17), boxes_for(5)
    np.testing.assert_allclose(ours(heatmaps, boxes).boxes, boxes, atol=1e-4)
    assert np.abs(np.stack([person["bbox"] for person in theirs(heatmaps, boxes)]) - boxes).max() > 1


def test_one_keypoint_and_several_people():
    """Theirs squeezes the keypoint axis away and cannot put it back."""
    heatmaps, boxes = answers(3, 1), boxes_for(3)
    with pytest.raises(ValueError, match="broadcast"):
        theirs(heatmaps, boxes)
    poses = ours(heatmaps, boxes, decode_sigma=0.8)
    assert poses.xy.shape == (3, 1, 2)
    beside = torch.cat([heatmaps, answers(3, 1, seed=9)], dim=1)
    wanted = np.stack([person["keypoints"] for person in theirs(beside, boxes)])
    assert np.abs(poses.xy - wanted[:, :1]).max() < 1e-3


@pytest.mark.parametrize("people", [299, 310])
def test_many_people_are_found_as_exactly_as_few(people):
    """From 299 people of 17 keypoints on, theirs has positions beyond 2^24 in float32 and reads the wrong pixels."""
    heatmaps, boxes = answers(people, 17), boxes_for(people)
    together = ours(heatmaps, boxes, decode_sigma=0.8)
    last = theirs(heatmaps[-12:], boxes[-12:])
    assert np.abs(together.xy[-12:] - np.stack([person["keypoints"] for person in last])).max() < 1e-3
    alone = ours(heatmaps[-1:], boxes[-1:], decode_sigma=0.8)
    np.testing.assert_array_equal(together.xy[-1], alone.xy[0])


def test_their_defect_with_many_people_is_still_there():
    """When this fails, the note on it in the docs can go."""
    heatmaps, boxes = answers(310, 17), boxes_for(310)
    whole = np.stack([person["keypoints"] for person in theirs(heatmaps, boxes)[-12:]])
    part = np.stack([person["keypoints"] for person in theirs(heatmaps[-12:], boxes[-12:])])
    assert np.abs(whole - part).max() > 0.05


@pytest.mark.parametrize(("dtype", "tolerance_px"), [(torch.bfloat16, 1.0), (torch.float16, 0.1)])
def test_half_precision_heatmaps(dtype, tolerance_px):
    """Theirs hands bfloat16 to numpy and float16 to scipy, which know neither."""
    heatmaps = answers(4, 17)
    with pytest.raises((TypeError, RuntimeError)):
        theirs(heatmaps.to(dtype), boxes_for(4))
    xy, scores = Codec().decode(heatmaps.to(dtype), CROP)
    assert xy.dtype == scores.dtype == torch.float32
    exact, _ = Codec().decode(heatmaps, CROP)
    assert (xy - exact).abs().max() < tolerance_px


def test_a_threshold_marks_keypoints_and_drops_none():
    """Theirs drops them, so that people have different numbers of keypoints."""
    heatmaps, boxes = answers(6, 17), boxes_for(6)
    poses = ours(heatmaps, boxes, threshold=0.5)
    assert poses.xy.shape == (6, 17, 2)
    np.testing.assert_array_equal(poses.xy, ours(heatmaps, boxes, threshold=0.0).xy)
    lengths = {len(person["keypoints"]) for person in theirs(heatmaps, boxes, threshold=0.5)}
    assert len(lengths) > 1


def test_nobody():
    poses = ours(torch.zeros(0, 17, *HEATMAP), np.zeros((0, 4)))
    assert poses.xy.shape == (0, 17, 2)
