"""Several scales: one is what it was without them, and several agree, vote and leave out as described."""

import numpy as np
import pytest
import torch
from spots import SIZE, SpotEngine, estimator, picture

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import CONTEXT, CropTransform, Size
from vitpose.pipeline.multiscale import Scales, scaled
from vitpose.pipeline.options import Options

THREE = (0.8, 1.0, 1.25)
HEATMAP = SpotEngine.heatmap_size
BOXES = [[20, 30, 90, 160], [-40, -50, 60, 80], [150, 100, 260, 240]]


def join(
    factors: tuple[float, ...], places: list[tuple[float, float]], scores: list[float]
) -> tuple[np.ndarray, float]:
    """Join one keypoint of one person; places are in the crop of scale 1, relative to its centre."""
    scales = Scales(factors, Codec(), SIZE, HEATMAP)
    middle = np.array([SIZE.width - 1, SIZE.height - 1]) / 2
    found = [
        (torch.tensor(middle + np.array(place) / factor, dtype=torch.float32)[None, None], torch.tensor([[score]]))
        for place, factor, score in zip(places, factors, scores, strict=True)
    ]
    xy, score = scales.join(found)
    return xy[0, 0].numpy() - middle, float(score)


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("flip_test", [False, True])
def test_one_scale_is_what_it_was_bit_for_bit(convention: str, flip_test: bool) -> None:
    image, boxes, _ = picture(3)
    pose = estimator(convention, flip_test=flip_test, scales=(1.0,))
    transform = CropTransform.from_boxes(boxes, SIZE, convention=convention)  # type: ignore[arg-type]
    crops = transform.warp(image)
    codec = Codec.for_head(pose.head, HEATMAP)
    heatmaps = torch.from_numpy(pose.engine(crops))
    if flip_test:
        mirrored = torch.from_numpy(pose.engine(np.ascontiguousarray(crops[:, :, ::-1])))
        heatmaps = codec.merge_flipped(heatmaps, mirrored, pose.skeleton.flip_indices)
    xy, scores = codec.decode(heatmaps, SIZE)
    poses = pose(image, boxes=boxes)
    np.testing.assert_array_equal(poses.xy, transform.to_image(xy.numpy()).astype(np.float32))
    np.testing.assert_array_equal(poses.scores, scores.numpy())
    np.testing.assert_array_equal(estimator(convention, flip_test=flip_test)(image, boxes=boxes).xy, poses.xy)


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.25])
def test_regions_grow_about_their_centre(convention: str, square: bool, scale: float) -> None:
    kind = {"convention": convention, "square": square}
    once = CropTransform.from_boxes(BOXES, SIZE, **kind)  # type: ignore[arg-type]
    grown = CropTransform.from_boxes(BOXES, SIZE, **kind, context=CONTEXT * scale)  # type: ignore[arg-type]
    np.testing.assert_allclose(scaled(once, scale).matrices, grown.matrices, atol=1e-9)
    np.testing.assert_allclose(scaled(scaled(once, scale), 1 / scale).matrices, once.matrices, atol=1e-9)
    assert scaled(once, 1.0) is once


@pytest.mark.parametrize(("convention", "bound"), [("udp", 0.5), ("msra", 4.0)])
@pytest.mark.parametrize("scales", [THREE, (0.8,), (1.25, 1.5)])
def test_points_are_found_where_they_are(convention: str, bound: float, scales: tuple[float, ...]) -> None:
    image, boxes, points = picture(5)
    poses = estimator(convention, scales=scales)(image, boxes=boxes)
    assert np.abs(poses.xy - points).max() < bound
    assert poses.scores.min() > 0.7
    assert estimator(convention, scales=scales)(image, boxes=boxes[:0]).xy.shape == (0, 3, 2)


def test_the_order_of_scales_does_not_matter() -> None:
    image, boxes, _ = picture(4)
    first, second = (estimator(scales=order)(image, boxes=boxes) for order in (THREE, THREE[::-1]))
    np.testing.assert_allclose(first.xy, second.xy, atol=1e-3)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-6)


def test_a_mirrored_picture_gives_the_mirrored_pose() -> None:
    image, boxes, _ = picture(4)
    width = image.shape[1]
    there = estimator(scales=THREE)(image, boxes=boxes)
    turned = estimator(scales=THREE)(
        np.ascontiguousarray(image[:, ::-1]),
        boxes=(width - 1 - boxes)[:, [2, 1, 0, 3]] * [1, 0, 1, 0] + boxes * [0, 1, 0, 1],
    )
    np.testing.assert_allclose(width - 1 - turned.xy[..., 0], there.xy[..., 0], atol=0.05)
    np.testing.assert_allclose(turned.xy[..., 1], there.xy[..., 1], atol=0.05)


def test_a_person_is_the_same_in_any_company() -> None:
    image, boxes, _ = picture(6)
    together = estimator(scales=THREE, batch_size=4)(image, boxes=boxes)
    for person in range(6):
        alone = estimator(scales=THREE)(image, boxes=boxes[[person]])
        np.testing.assert_array_equal(alone.xy[0], together.xy[person])
        np.testing.assert_array_equal(alone.scores[0], together.scores[person])


def test_every_scale_costs_one_run() -> None:
    image, boxes, _ = picture(3)
    for flip_test, runs in ((False, 3), (True, 6)):
        pose = estimator(scales=THREE, flip_test=flip_test)
        pose(image, boxes=boxes)
        assert isinstance(pose.engine, SpotEngine)
        assert pose.engine.batches == [3] * runs


def test_scales_that_agree_are_averaged_by_score_and_precision() -> None:
    xy, score = join((0.5, 1.0), [(4.0, 0.0), (8.0, 2.0)], [0.6, 0.8])
    weights = np.array([0.6 / 0.25, 0.8])
    np.testing.assert_allclose(xy, weights @ [[4, 0], [8, 2]] / weights.sum(), atol=1e-4)
    assert score == pytest.approx(0.7)


def test_a_scale_that_sees_something_else_is_outvoted() -> None:
    elsewhere = (-30.0, 20.0)
    xy, score = join(THREE, [elsewhere, (10.0, 10.0), (10.0, 10.0)], [0.9, 0.5, 0.6])
    np.testing.assert_allclose(xy, [10, 10], atol=1e-4)
    assert score == pytest.approx(1.1 / 3)
    xy, score = join(THREE, [elsewhere, (10.0, 10.0), (10.0, 10.0)], [0.9, 0.3, 0.3])
    np.testing.assert_allclose(xy, elsewhere, atol=1e-4)
    assert score == pytest.approx(0.3)


def test_a_scale_that_cannot_see_the_place_does_not_lower_the_score() -> None:
    far = (0.9 * (SIZE.width - 1) / 2, 0.0)
    xy, score = join((0.5, 1.0), [(0.0, 0.0), far], [0.1, 0.8])
    np.testing.assert_allclose(xy, far, atol=1e-4)
    assert score == pytest.approx(0.8)


def test_hopeless_heatmaps_still_give_a_point() -> None:
    xy, score = join((0.8, 1.0), [(4.0, 0.0), (4.0, 0.0)], [0.0, -0.1])
    np.testing.assert_allclose(xy, [4, 0], atol=1e-4)
    assert score == pytest.approx(-0.05)


def test_several_scales_are_written_down_and_one_is_not() -> None:
    image, boxes, _ = picture(1)
    pose = estimator(scales=THREE)
    assert dict(pose(image, boxes=boxes).model.settings)["scales"] == THREE
    for once in (estimator(), pose.with_options(scales=[1])):
        assert "scales" not in dict(once(image, boxes=boxes).model.settings)


@pytest.mark.parametrize("scales", [(), (1.0, 1.0), (0.0,), (float("nan"),), (1.0, 9.0)])
def test_scales_that_make_no_sense_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="scales must be different numbers"):
        Options(scales=scales)


def test_no_joined_score_is_above_the_best_of_the_scales() -> None:
    found = [(torch.rand(5, 3, 2) * 90, torch.rand(5, 3)) for _ in THREE]
    xy, scores = Scales(THREE, Codec("msra"), Size(128, 96), HEATMAP).join(found)
    assert torch.isfinite(xy).all()
    assert (scores <= torch.stack([score for _, score in found]).amax(0) + 1e-6).all()
