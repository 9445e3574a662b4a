"""Each head is cropped, decoded and flipped the way it was trained, checked against arithmetic written out by hand.

The `msra` arithmetic is that of Xiao et al. 2018 as the original release computes it: an affine map through three
points, a quarter of a pixel towards the higher neighbour, and a mirrored heatmap shifted by one pixel.
"""

import cv2
import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options

SIZE, MAP = Size(256, 192), Size(64, 48)
BOXES = np.array([[40.0, 30.0, 140.0, 230.0], [200.5, 50.25, 380.0, 110.75]])
PAIR = Skeleton(name="pair", keypoints=("left_hand", "right_hand"), flip_pairs=(("left_hand", "right_hand"),))


class Recorder:
    """Answers with prepared heatmaps, one set a call, and keeps the crops it was given."""

    name, input_size, heatmap_size, num_keypoints = "recorder", SIZE, MAP, 2

    def __init__(self, *answers: np.ndarray) -> None:
        self.answers = list(answers)
        self.crops: list[np.ndarray] = []

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        self.crops.append(crops.copy())
        return self.answers.pop(0)

    def close(self) -> None:
        pass


def run(
    convention: str, *answers: np.ndarray, image: np.ndarray, flip_test: bool = False
) -> tuple[np.ndarray, Recorder]:
    spec = HeadSpec(dataset="pair", skeleton="pair", keypoints=2, codec=convention)  # type: ignore[arg-type]
    engine = Recorder(*answers)
    head = {"pair": Head(spec, PAIR, engine)}
    return PoseEstimator(head, options=Options(flip_test=flip_test))(image, boxes=BOXES).xy, engine


def regions() -> tuple[np.ndarray, np.ndarray]:
    """Centre and size of what a head sees: the box at 3:4, 1.25 times as large."""
    centers = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    width, height = (BOXES[:, 2:] - BOXES[:, :2]).T
    wide = width > 0.75 * height
    return centers, 1.25 * np.stack(
        [np.where(wide, width, 0.75 * height), np.where(wide, width / 0.75, height)], axis=1
    )


def three_point_matrix(center: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """The older affine map: centre to centre, half the width upwards to half the width upwards, and a right angle."""
    up, target = np.array([0, -0.5 * extent[0]]), np.array([0, -0.5 * SIZE.width])
    middle = np.array([SIZE.width, SIZE.height]) * 0.5
    source = np.array([center, center + up, center + up + [up[1], 0]], np.float32)
    wanted = np.array([middle, middle + target, middle + target + [target[1], 0]], np.float32)
    return cv2.getAffineTransform(source, wanted)


def maps(seed: int) -> np.ndarray:
    """A clear peak on uneven ground, away from the rim."""
    rng = np.random.default_rng(seed)
    heatmaps = rng.uniform(0, 0.2, (2, 2, *MAP)).astype(np.float32)
    for person in range(2):
        for keypoint in range(2):
            heatmaps[person, keypoint, rng.integers(10, 50), rng.integers(10, 38)] = 1.0
    return heatmaps


def quarter_shift_by_hand(heatmaps: np.ndarray) -> np.ndarray:
    centers, extents = regions()
    points = np.zeros((2, 2, 2))
    for person in range(2):
        for keypoint in range(2):
            plane = heatmaps[person, keypoint]
            y, x = np.unravel_index(plane.argmax(), plane.shape)
            step = 0.25 * np.sign([plane[y, x + 1] - plane[y, x - 1], plane[y + 1, x] - plane[y - 1, x]])
            scale = extents[person] / [MAP.width, MAP.height]
            points[person, keypoint] = (np.array([x, y]) + step) * scale + centers[person] - extents[person] / 2
    return points


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rows, columns = np.mgrid[:300, :420]
    waves = [128 + 100 * np.sin(rows / 8 + channel) * np.cos(columns / 11) for channel in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def test_an_msra_head_is_cropped_by_the_older_affine_map(image: np.ndarray) -> None:
    _, engine = run("msra", maps(0), image=image)
    for crop, center, extent in zip(engine.crops[0], *regions(), strict=True):
        matrix = three_point_matrix(center, extent)
        whole = cv2.warpAffine(image, matrix, (SIZE.width, SIZE.height), flags=cv2.INTER_LINEAR)
        assert np.abs(crop.astype(int) - whole).max() <= 2
    udp = run("udp", maps(0), image=image)[1].crops[0]
    assert np.abs(udp.astype(int) - engine.crops[0]).max() > 20, "the two conventions give different crops"


def test_an_msra_head_is_decoded_by_a_quarter_shift(image: np.ndarray) -> None:
    heatmaps = maps(1)
    np.testing.assert_allclose(run("msra", heatmaps, image=image)[0], quarter_shift_by_hand(heatmaps), atol=1e-3)


def test_an_msra_flip_is_shifted_by_one_pixel(image: np.ndarray) -> None:
    straight, mirrored = maps(2), maps(3)
    found, engine = run("msra", straight, mirrored, image=image, flip_test=True)
    np.testing.assert_array_equal(engine.crops[1], engine.crops[0][:, :, ::-1])
    back = mirrored[:, [1, 0], :, ::-1].copy()
    back[..., 1:] = back[..., :-1].copy()
    np.testing.assert_allclose(found, quarter_shift_by_hand((straight + back) / 2), atol=1e-3)


def test_a_udp_head_is_decoded_on_the_size_minus_one_grid(image: np.ndarray) -> None:
    rows, columns = np.mgrid[: MAP.height, : MAP.width]
    places = np.array([[20.3, 30.7], [25.8, 40.2]])
    one = np.stack([np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in places]).astype(np.float32)
    found, _ = run("udp", np.stack([one, one]), image=image)
    centers, extents = regions()
    expected = places * (extents[:, None] / [MAP.width - 1, MAP.height - 1]) + (centers - extents / 2)[:, None]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_a_udp_flip_is_not_shifted(image: np.ndarray) -> None:
    heatmaps = maps(4)
    same = heatmaps[:, [1, 0], :, ::-1].copy()
    alone, _ = run("udp", heatmaps, image=image)
    both, _ = run("udp", heatmaps, same, image=image, flip_test=True)
    np.testing.assert_allclose(both, alone, atol=1e-4)
