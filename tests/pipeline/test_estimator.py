"""Pictures to poses, with engines whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from spots import SIZE, SPOTS, SpotEngine, estimator, picture

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import CropTransform
from vitpose.core.poses import Boxes
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import FakeEngine
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options, Threshold
from vitpose.pipeline.refine import pose_boxes


@pytest.mark.parametrize(("convention", "bound"), [("udp", 0.5), ("msra", 4.0)])
@pytest.mark.parametrize("flip_test", [False, True])
def test_points_are_found_where_they_are(convention: str, bound: float, flip_test: bool) -> None:
    image, boxes, points = picture(5)
    poses = estimator(convention, flip_test=flip_test)(image, boxes=boxes)
    assert np.abs(poses.xy - points).max() < bound
    assert poses.scores.min() > 0.7
    np.testing.assert_array_equal(poses.boxes, boxes.astype(np.float32))


def test_batches_across_pictures_equal_singles() -> None:
    pictures = [picture(people, seed) for seed, people in enumerate([3, 0, 1, 7, 0, 2])]
    images, boxes = [p[0] for p in pictures], [p[1] for p in pictures]
    together = estimator(batch_size=4)
    results = together(images, boxes=boxes)
    engine = together.engine
    assert isinstance(engine, SpotEngine)
    assert engine.batches == [4, 4, 4, 1], "crops of several pictures share batches"
    for image, people, result in zip(images, boxes, results, strict=True):
        alone = estimator(batch_size=1)(image, boxes=people)
        np.testing.assert_array_equal(alone.xy, result.xy)
        np.testing.assert_array_equal(alone.scores, result.scores)
        assert len(result) == len(people)


def test_three_hundred_people_and_one() -> None:
    image, boxes, points = picture(1)
    poses = estimator()(image, boxes=np.repeat(boxes, 300, axis=0))
    assert len(poses) == 300
    assert np.abs(poses.xy - points).max() < 0.5


def test_an_empty_picture_gives_an_empty_result() -> None:
    image = picture(0)[0]
    nobody = PoseEstimator(estimator()._heads, detector=_Finds([]))
    poses = nobody(image)
    assert poses.xy.shape == (0, 3, 2)
    assert nobody([]) == []


class _Finds:
    """A detector that finds the same boxes in every picture."""

    name = "finds"

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = boxes

    def __call__(self, images: object) -> list[Boxes]:
        return [Boxes(self.boxes, [0.9] * len(self.boxes), ("dog",) * len(self.boxes)) for _ in images]  # type: ignore[arg-type, attr-defined]


def test_the_detector_brings_scores_and_labels() -> None:
    image, boxes, _ = picture(2)
    poses = PoseEstimator(estimator()._heads, detector=_Finds(boxes.tolist()))(image)
    assert poses.labels == ("dog", "dog")
    np.testing.assert_allclose(poses.box_scores, 0.9)
    assert poses.model.detector == "finds"
    assert poses.model.engine == "spots"


def test_a_sloppy_box_is_mended_by_the_second_pass() -> None:
    image, boxes, points = picture(1)
    sloppy = boxes + np.array([-80, -20, 60, 20])
    once = estimator()(image, boxes=sloppy)
    few = estimator(refine=True)(image, boxes=sloppy)
    np.testing.assert_array_equal(few.boxes, once.boxes)  # three keypoints are too few to make a box of
    five = Skeleton(name="five", keypoints=tuple("abcde"))
    places = [(0.4, 0.3), (0.6, 0.3), (0.5, 0.5), (0.45, 0.7), (0.55, 0.7)]
    spec = HeadSpec(dataset="five", skeleton="five", keypoints=5)
    head = Head(spec, five, FakeEngine(places))
    tall = [[100, 20, 130, 140]]
    refined = PoseEstimator({"five": head}, options=Options(refine=True))(image, boxes=tall)
    first = PoseEstimator({"five": head})(image, boxes=tall)
    np.testing.assert_allclose(refined.boxes, pose_boxes(first))
    extent = first.xy[0].max(axis=0) - first.xy[0].min(axis=0)
    np.testing.assert_allclose(refined.boxes[0, 2:] - refined.boxes[0, :2], 1.25 * extent, rtol=1e-4)
    assert once.xy.shape == points.shape


def test_square_heads_see_a_square_region() -> None:
    spec = HeadSpec(dataset="mpii", skeleton="one", keypoints=1, square_box=True)
    head = Head(spec, Skeleton(name="one", keypoints=("a",)), FakeEngine([(1.0, 1.0)]))
    poses = PoseEstimator({"mpii": head})(np.zeros((300, 300, 3), np.uint8), boxes=[[100, 100, 140, 200]])
    np.testing.assert_allclose(poses.xy[0, 0], [120 + 62.5, 150 + 62.5], atol=0.2)


def test_the_threshold_marks_by_keypoint() -> None:
    image, boxes, _ = picture(1)
    poses = estimator(threshold=Threshold(0.0, (("green", 1.0), ("nose", 0.5))))(image, boxes=boxes)
    np.testing.assert_array_equal(poses.visible, [[True, False, True]])
    assert poses.xy.shape == (1, 3, 2)


def test_heads_share_one_estimator() -> None:
    a, b = estimator()._heads["spots"], estimator("msra")._heads["spots"]
    both = PoseEstimator({"a": a, "b": b})
    image, boxes, _ = picture(2)
    assert both.datasets == ("a", "b")
    assert both(image, boxes=boxes, dataset="b").model.dataset == "b"
    np.testing.assert_array_equal(
        both(image, boxes=boxes, dataset="b").xy, both.for_dataset("b")(image, boxes=boxes).xy
    )
    with pytest.raises(UsageError, match="no head for dataset 'c'"):
        both(image, boxes=boxes, dataset="c")


def test_misuse_is_named() -> None:
    image, boxes, _ = picture(1)
    with pytest.raises(UsageError, match="no detector"):
        estimator()(image)
    with pytest.raises(UsageError, match="2 lists of boxes for 1 pictures"):
        estimator()([image], boxes=[boxes, boxes])
    with pytest.raises(InputError, match="wrong order"):
        estimator()(image, boxes=[[50, 50, 10, 10]])
    with pytest.raises(UsageError, match="keypoints"):
        Head(HeadSpec(dataset="x", skeleton="x", keypoints=3), SPOTS, FakeEngine([(0.5, 0.5)]))
    with pytest.raises(UsageError, match="batch_size"):
        Options(batch_size=0)


def test_results_do_not_depend_on_how_pictures_are_given(tmp_path: Path) -> None:
    from PIL import Image

    image, boxes, _ = picture(2)
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    reference = estimator()(image, boxes=boxes)
    for same in (path, str(path), Image.fromarray(image), path.read_bytes()):
        np.testing.assert_array_equal(estimator()(same, boxes=boxes).xy, reference.xy)


def test_the_region_reaches_beyond_the_picture() -> None:
    image, boxes, points = picture(1)
    cut = image[:, 60:135]
    inside = estimator()(cut, boxes=boxes - [[60, 0, 60, 0]])
    assert np.abs(inside.xy - (points - [60, 0])).max() < 0.5
    transform = CropTransform.from_boxes(boxes - [[60, 0, 60, 0]], SIZE)
    assert transform.warp(cut)[0, :, 0].max() == 0, "the margin is black"
