import numpy as np
import pytest
import torch

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size

CROP, HEATMAP = Size(256, 192), Size(64, 48)
SWAP = [0, 2, 1]


def test_channels_are_swapped_and_columns_mirrored():
    maps = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    merged = Codec().merge_flipped(torch.zeros_like(maps), maps, SWAP)
    for person, keypoint, column in ((0, 0, 0), (1, 1, 3), (1, 2, 4)):
        assert torch.equal(merged[person, keypoint, :, column], maps[person, SWAP[keypoint], :, 4 - column] / 2)


def test_msra_shifts_right_by_one_and_keeps_column_zero():
    maps = torch.rand(1, 1, 3, 6)
    merged = Codec("msra").merge_flipped(torch.zeros_like(maps), maps, [0])
    turned = maps.flip(-1)
    assert torch.equal(merged[..., 0] * 2, turned[..., 0])
    assert torch.equal(merged[..., 1:] * 2, turned[..., :-1])


def test_udp_mirror_of_a_mirrored_crop_changes_nothing():
    # Left and right are named by side in the picture, so keypoint 1 of the mirrored crop is keypoint 2 of the crop.
    xy = torch.tensor([[[20.5, 30.25], [100.0, 200.0], [150.75, 77.0]]])
    mirrored = torch.stack([191 - xy[..., 0], xy[..., 1]], dim=-1)[:, SWAP]
    visible = torch.ones(1, 3)
    maps, _ = Codec().encode(xy, visible, CROP, HEATMAP)
    flipped, _ = Codec().encode(mirrored, visible, CROP, HEATMAP)
    merged = Codec().merge_flipped(maps, flipped, SWAP)
    assert torch.allclose(merged, maps, atol=1e-5)


def test_msra_mirror_of_a_mirrored_crop_is_within_the_rounding():
    x = torch.linspace(20, 170, 400)
    xy = torch.stack([x, torch.full_like(x, 100.0)], dim=-1)[:, None]
    mirrored = torch.stack([191 - xy[..., 0], xy[..., 1]], dim=-1)
    visible = torch.ones(400, 1)
    codec = Codec("msra")
    maps, _ = codec.encode(xy, visible, CROP, HEATMAP)
    flipped, _ = codec.encode(mirrored, visible, CROP, HEATMAP)
    decoded, _ = codec.decode(codec.merge_flipped(maps, flipped, [0]), CROP)
    error = decoded[:, 0, 0] - x
    assert error.abs().max() <= 0.5 * 4 + 1  # half a heatmap pixel, and what averaging two roundings adds
    unshifted, _ = codec.decode(Codec("udp").merge_flipped(maps, flipped, [0]), CROP)
    assert error.mean().abs() < (unshifted[:, 0, 0] - x).mean().abs()


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("people", [0, 1, 3])
def test_pure_and_float32_for_every_type(convention, people):
    maps = torch.rand(people, 3, 4, 5).to(torch.bfloat16)
    flipped = torch.rand(people, 3, 4, 5).to(torch.bfloat16)
    kept = maps.clone(), flipped.clone()
    merged = Codec(convention).merge_flipped(maps, flipped, SWAP)
    assert torch.equal(maps, kept[0])
    assert torch.equal(flipped, kept[1])
    assert merged.dtype == torch.float32
    assert merged.shape == maps.shape
    assert merged.untyped_storage().data_ptr() != maps.untyped_storage().data_ptr() or people == 0


def test_numpy_in_is_the_same():
    maps, flipped = np.random.default_rng(0).random((2, 2, 3, 4, 5), dtype=np.float32)
    merged = Codec().merge_flipped(maps, flipped, np.array(SWAP))
    assert torch.equal(merged, Codec().merge_flipped(torch.tensor(maps), torch.tensor(flipped), SWAP))


@pytest.mark.parametrize("indices", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 3]])
def test_indices_must_be_a_permutation(indices):
    with pytest.raises(UsageError, match="each of the 3 keypoints once"):
        Codec().merge_flipped(torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5), indices)


def test_shapes_must_agree():
    with pytest.raises(UsageError, match="of one shape"):
        Codec().merge_flipped(torch.zeros(1, 3, 4, 5), torch.zeros(2, 3, 4, 5), SWAP)
