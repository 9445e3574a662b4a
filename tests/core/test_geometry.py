"""The one transform between a picture and a model's input."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitpose.core.errors import InputError
from vitpose.core.geometry import (
    CropTransform,
    Size,
    as_boxes,
    fit_aspect,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

SIZE = Size(256, 192)
coordinate = st.floats(-500, 2000, allow_nan=False)
extent = st.floats(2, 1500)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    x, y, width, height = draw(coordinate), draw(coordinate), draw(extent), draw(extent)
    return np.array([[x, y, x + width, y + height]])


@given(boxes(), st.sampled_from(["udp", "msra"]), st.booleans())
def test_points_return_from_the_crop(box: np.ndarray, convention: str, square: bool) -> None:
    transform = CropTransform.from_boxes(box, SIZE, convention=convention, square=square)
    points = np.random.default_rng(0).uniform(-100, 2000, (1, 17, 2))
    np.testing.assert_allclose(transform.to_image(transform.to_crop(points)), points, atol=1e-6)


@given(boxes())
def test_udp_maps_the_region_to_the_first_and_last_pixel_centre(box: np.ndarray) -> None:
    transform = CropTransform.from_boxes(box, SIZE)
    center = (box[:, :2] + box[:, 2:]) / 2
    region = fit_aspect(box[:, 2:] - box[:, :2], 0.75) * 1.25
    corners = np.stack([center - region / 2, center + region / 2], axis=1)
    np.testing.assert_allclose(transform.to_crop(corners)[0], [[0, 0], [191, 255]], atol=1e-6)


def test_msra_maps_the_region_to_the_whole_size() -> None:
    transform = CropTransform.from_boxes([[0, 0, 75, 100]], SIZE, convention="msra", context=1.0)
    np.testing.assert_allclose(transform.to_crop(np.array([[[0, 0], [75, 100]]])), [[[0, 0], [192, 256]]])


@given(boxes())
def test_the_aspect_is_kept_and_nothing_is_cut(box: np.ndarray) -> None:
    matrix = CropTransform.from_boxes(box, SIZE, convention="msra").matrices[0]
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])
    inside = CropTransform.from_boxes(box, SIZE).to_crop(box.reshape(1, 2, 2))
    assert (inside > -1e-6).all()
    assert (inside < np.array([191, 255]) + 1e-6).all()


def test_square_regions_are_stretched() -> None:
    matrix = CropTransform.from_boxes([[0, 0, 50, 100]], SIZE, convention="msra", square=True).matrices[0]
    assert matrix[0, 0] == pytest.approx(192 / 125)
    assert matrix[1, 1] == pytest.approx(256 / 125)


@pytest.mark.parametrize("convention", ["udp", "msra"])
def test_mirror_and_rotation_compose(convention: str) -> None:
    center, region = [[100.0, 80.0]], [[90.0, 120.0]]
    plain = CropTransform.from_regions(center, region, SIZE, convention=convention)
    turned = CropTransform.from_regions(center, region, SIZE, rotations_deg=180, convention=convention)
    mirrored = CropTransform.from_regions(center, region, SIZE, mirror=True, convention=convention)
    points = np.array([[[70.0, 60.0], [100.0, 80.0], [140.0, 130.0]]])
    target = np.array([191, 255]) if convention == "udp" else np.array([192, 256])
    np.testing.assert_allclose(turned.to_crop(points), target - plain.to_crop(points))
    expected = plain.to_crop(points)
    expected[..., 0] = target[0] - expected[..., 0]
    np.testing.assert_allclose(mirrored.to_crop(points), expected)


def test_a_quarter_turn_is_clockwise_in_the_crop() -> None:
    transform = CropTransform.from_regions([[0, 0]], [[100, 100]], Size(101, 101), rotations_deg=90)
    np.testing.assert_allclose(transform.to_crop(np.array([[[10.0, 0.0]]])), [[[50, 60]]], atol=1e-9)


def test_warp_shows_what_the_points_say() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    spots = np.array([[[50, 60], [200, 150], [333, 222]]], float)
    for x, y in spots[0].astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    transform = CropTransform.from_boxes([[40, 40, 350, 260]], Size(512, 384))
    crop = transform.warp(image)[0].astype(float).sum(axis=-1)
    for x, y in transform.to_crop(spots)[0]:
        rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]]
        near = np.hypot(columns - x, rows - y) < 8
        mass = crop[near].sum()
        assert np.hypot((columns[near] * crop[near]).sum() / mass - x, (rows[near] * crop[near]).sum() / mass - y) < 0.2


def test_warp_equals_a_warp_of_the_whole_picture(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (211, 317, 3), dtype=np.uint8)
    people = np.array([[10, 10, 60, 120], [-40, -30, 50, 60], [250, 150, 400, 300], [0, 0, 317, 211]], float)
    transform = CropTransform.from_boxes(people, Size(128, 96))
    for crop, matrix in zip(transform.warp(image), transform.matrices, strict=True):
        whole = cv2.warpAffine(image, matrix, (96, 128), flags=cv2.INTER_LINEAR)
        assert np.abs(crop.astype(int) - whole).max() <= 1


def test_outside_the_picture_is_black_and_nobody_gives_no_crops() -> None:
    image = np.full((50, 50, 3), 255, np.uint8)
    assert CropTransform.from_boxes([[500, 500, 600, 600]], SIZE).warp(image).max() == 0
    assert CropTransform.from_boxes(np.zeros((0, 4)), SIZE).warp(image).shape == (0, 256, 192, 3)
    one = CropTransform.from_boxes([[0, 0, 1, 1]], SIZE).warp(np.full((1, 1, 3), 200, np.uint8))
    assert one.max() == 200


def test_pictures_wider_than_opencv_addresses() -> None:
    image = np.zeros((300, 70_000, 3), np.uint8)
    image[:, 60_000:] = 255
    people = np.array([[0, 0, 70_000, 300], [59_990, 100, 60_010, 200]])
    transform = CropTransform.from_boxes(people, Size(16, 4096), context=1.0)
    for crop, points in zip(
        transform.warp(image), transform.to_crop(np.full((2, 1, 2), [59_999.5, 150.0])), strict=True
    ):
        row, edge = crop[8, :, 0].astype(int), points[0, 0]
        assert abs(np.argmax(row > 127) - edge) < 2
        assert row[: int(edge) - 150].max() == 0
        assert (np.diff(row[300:3600]) >= 0).all()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([[0, 0, float("nan"), 5]], "not a finite number"),
        ([[0, 0, float("inf"), 5]], "not a finite number"),
        ([[10, 0, 5, 5]], "wrong order"),
        ([[0, 0, 0, 5]], "no area"),
        ([[0, 0, 5]], "shape"),
        ([["a", 0, 5, 5]], "must be numbers"),
        ([[0, 0, 5, 5], [0, 0, 5]], "must be numbers"),
        ({"a": 1}, "must be numbers"),
    ],
)
def test_what_is_not_a_box_is_refused(box: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_boxes(box, source="boxes.json")  # type: ignore[arg-type]


def test_boxes_of_nobody_and_of_one() -> None:
    assert as_boxes([]).shape == (0, 4)
    assert as_boxes([1, 2, 3, 4]).shape == (1, 4)


@given(boxes())
def test_box_forms_are_inverse(box: np.ndarray) -> None:
    np.testing.assert_allclose(xywh_to_xyxy(xyxy_to_xywh(box)), box, rtol=1e-5, atol=1e-3)
