"""What is drawn of a frame."""

import numpy as np

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.pipeline.film_output import annotated


def test_faces_are_hidden_where_the_model_saw_them_and_not_where_smoothing_put_them() -> None:
    skeleton = load_skeleton("coco17")
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    seen = np.full((1, 17, 2), (60.0, 150.0), np.float32)
    seen[0, :5] = [(60, 60), (64, 56), (56, 56), (69, 58), (51, 58)]
    poses = Poses(
        xy=seen + np.float32([180, 0]),
        raw_xy=seen,
        scores=np.ones((1, 17)),
        boxes=[[40, 40, 80, 160]],
        box_scores=[1.0],
        skeleton=skeleton,
        image_size=Size(240, 320),
    )
    hidden = annotated(image, poses, blur=True)
    face = np.s_[52:68, 52:68]
    assert hidden[face].std() < 0.5 * image[face].std()
    np.testing.assert_array_equal(annotated(image, poses, blur=False)[face], image[face])
