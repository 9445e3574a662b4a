from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.models.variants import HeadSpec

SIZES = [(Size(256, 192), Size(64, 48)), (Size(384, 288), Size(96, 72)), (Size(256, 256), Size(64, 64))]
UDP_BOUND = 0.001
"""Heatmap pixels; seen 0.00005."""


@dataclass(frozen=True)
class Head:
    codec: str


def to_heatmap(convention: str, crop: Size, heatmap: Size) -> np.ndarray:
    less = convention == "udp"
    return np.array([(heatmap.width - less) / (crop.width - less), (heatmap.height - less) / (crop.height - less)])


def round_trip_error(codec: Codec, xy: np.ndarray, crop: Size, heatmap: Size) -> np.ndarray:
    """Error of (points, 2) in heatmap pixels."""
    maps, weights = codec.encode(xy[:, None], np.ones((len(xy), 1)), crop, heatmap)
    assert weights.min() == 1
    decoded, scores = codec.decode(maps, crop)
    assert torch.equal(scores, maps.amax(dim=(2, 3)))
    return np.abs(decoded[:, 0].numpy() - xy) * to_heatmap(codec.convention, crop, heatmap)


def rim_and_middle(length: int) -> np.ndarray:
    """Places every 0.1 pixel within 9 pixels of both rims, and every 0.37 between, both rims included."""
    return np.concatenate(
        [np.arange(0, 9, 0.1), np.arange(9, length - 10, 0.37), np.arange(length - 10, length - 0.99, 0.1)]
    )


@pytest.mark.parametrize(("crop", "heatmap"), SIZES)
def test_udp_round_trip_everywhere_on_the_heatmap(crop, heatmap):
    codec = Codec.for_head(Head("udp"), heatmap)
    x, y = rim_and_middle(heatmap.width), rim_and_middle(heatmap.height)
    generator = np.random.default_rng(0)
    edges = [np.stack([x, np.full_like(x, fixed)], -1) for fixed in (0, 0.49, 0.5, 3.3, heatmap.height - 1)]
    edges += [np.stack([np.full_like(y, fixed), y], -1) for fixed in (0, 0.49, 0.5, 3.3, heatmap.width - 1)]
    inner = generator.random((500, 2)) * [heatmap.width - 1, heatmap.height - 1]
    points = np.concatenate([*edges, inner]) / to_heatmap("udp", crop, heatmap)
    assert round_trip_error(codec, points, crop, heatmap).max() < UDP_BOUND


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 191), st.floats(0, 255), st.sampled_from([1.0, 1.5, 2.0, 3.0]))
def test_udp_round_trip_property(x, y, sigma):
    error = round_trip_error(Codec("udp", sigma, sigma), np.array([[x, y]]), *SIZES[0])
    assert error.max() < UDP_BOUND


@pytest.mark.parametrize(("crop", "heatmap"), SIZES)
def test_msra_round_trip_costs_half_a_pixel_and_more_only_at_the_far_rim(crop, heatmap):
    codec = Codec.for_head(Head("msra"), heatmap)
    points = np.random.default_rng(0).random((3000, 2)) * [crop.width - 1, crop.height - 1]
    error = round_trip_error(codec, points, crop, heatmap)
    scale = to_heatmap("msra", crop, heatmap)
    centred_inside = points * scale < np.array([heatmap.width, heatmap.height]) - 0.5
    assert error[centred_inside].max() <= 0.5 + 1e-4
    assert error.max() <= 0.75 + 1e-4
    assert error.max() > 0.5
    assert error[centred_inside].max() > 0.45


def test_msra_decodes_a_real_answer_better_than_its_own_targets():
    # A head answers with something like the sub-pixel Gaussian; then the quarter shift helps.
    points = np.random.default_rng(1).random((500, 2)) * [100, 100] + 40
    crop, heatmap = SIZES[0]
    scale = to_heatmap("msra", crop, heatmap)
    answers, _ = Codec("udp").encode((points * scale)[:, None], np.ones((500, 1)), heatmap, heatmap)
    decoded, _ = Codec("msra").decode(answers, crop)
    error = np.abs(decoded[:, 0].numpy() - points) * scale
    assert error.max() < 0.251


@pytest.mark.parametrize(
    ("heatmap", "asked", "sigma", "decode_sigma"),
    [
        (Size(64, 48), 2.0, 2.0, 2.0),
        (Size(96, 72), 2.0, 3.0, 3.0),
        (Size(144, 108), 2.0, 4.5, 4.5),
        (Size(16, 12), 2.0, 1.0, 1.0),
        (Size(64, 48), 0.8, 2.0, 0.8),
        (Size(96, 72), 0.8, 3.0, 0.8),
    ],
)
def test_sigmas_follow_the_heatmap(heatmap, asked, sigma, decode_sigma):
    head = HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, codec="msra")
    assert Codec.for_head(head, heatmap, decode_sigma=asked) == Codec("msra", sigma, decode_sigma)


def test_toy_heatmaps_round_trip_too():
    crop, heatmap = Size(64, 48), Size(16, 12)
    points = np.random.default_rng(2).random((300, 2)) * [47, 63]
    assert round_trip_error(Codec.for_head(Head("udp"), heatmap), points, crop, heatmap).max() < UDP_BOUND


@pytest.mark.parametrize(
    "arguments", [("dark", 2.0, 2.0), ("udp", 0.0, 2.0), ("udp", 2.0, -1.0), ("udp", float("nan"), 2.0)]
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(UsageError):
        Codec(*arguments)


def test_unknown_convention_names_the_known_ones():
    with pytest.raises(UsageError, match="did you mean 'udp'"):
        Codec("UDPP")


def test_crop_of_one_pixel_is_refused():
    with pytest.raises(UsageError, match="too small"):
        Codec().decode(torch.zeros(1, 1, 4, 4), Size(1, 1))
