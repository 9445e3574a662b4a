import math

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from vitpose.codec import decode
from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size

CROP, HEATMAP = Size(256, 192), Size(64, 48)


def answers(people: int, keypoints: int, seed: int = 0, *, noise: float = 0.01, margin: float = 0.0) -> torch.Tensor:
    """Heatmaps like a head's: a main peak, a weaker rival, smooth noise."""
    generator = np.random.default_rng(seed)
    room = np.array([191, 255]) - 2 * margin
    main = generator.random((people, keypoints, 2)) * room + margin
    rival = generator.random((people, keypoints, 2)) * room + margin
    ones = np.ones((people, keypoints))
    height = torch.from_numpy(generator.uniform(0.3, 1, (people, keypoints, 1, 1)).astype(np.float32))
    maps = height * Codec().encode(main, ones, CROP, HEATMAP)[0]
    maps = maps + 0.4 * height * Codec().encode(rival, ones, CROP, HEATMAP)[0]
    rough = generator.normal(size=maps.shape)
    smooth = gaussian_filter(rough, (0, 0, 1.5, 1.5)) * noise / 0.19
    return maps + torch.from_numpy(smooth.astype(np.float32))


def test_patch_blur_equals_blurring_the_whole_heatmap_in_the_interior():
    maps = answers(6, 17, margin=40)[:, :, :, :].reshape(-1, 64, 48)
    index = maps.reshape(len(maps), -1).argmax(dim=1)
    rows, columns = index // 48, index % 48
    for sigma, kernel in ((2.0, 11), (2.9, 17)):
        near = decode._log_neighbours(maps, rows, columns, 2.0, sigma).permute(2, 0, 1)
        reach = kernel // 2 + 1
        checked = 0
        for one, row, column, values in zip(maps.numpy(), rows, columns, near.numpy(), strict=True):
            if not (reach <= row < 64 - reach and reach <= column < 48 - reach):
                continue
            whole = np.log(np.clip(cv2.GaussianBlur(one, (kernel, kernel), sigma), 1e-3, 50))
            assert np.allclose(whole[row - 1 : row + 2, column - 1 : column + 2], values, atol=1e-5)
            checked += 1
        assert checked > 50


@pytest.mark.parametrize("shape", [(64, 48), (5, 4), (2, 3)])
def test_below_one_the_whole_heatmap_is_blurred_as_transformers_does(shape):
    maps = torch.from_numpy(np.random.default_rng(0).random((40, *shape), dtype=np.float32))
    index = maps.reshape(40, -1).argmax(dim=1)
    rows, columns = index // shape[1], index % shape[1]
    near = decode._log_neighbours(maps, rows, columns, 2.0, 0.8).permute(2, 0, 1)
    for one, row, column, values in zip(maps.numpy(), rows, columns, near.numpy(), strict=True):
        whole = np.log(np.clip(gaussian_filter(one, 0.8, radius=5), 1e-3, 50))
        padded = np.pad(whole, 1, mode="edge")
        assert np.allclose(padded[row : row + 3, column : column + 3], values, atol=1e-5)


def transformers_keypoints(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    people = len(maps)
    extent = np.array([[CROP.width - 1, CROP.height - 1]] * people, dtype=np.float32)
    xy, scores = VitPoseImageProcessorPil().keypoints_from_heatmaps(maps, extent / 2, extent / 200)
    return xy, scores[..., 0]


@pytest.mark.parametrize("seed", range(3))
def test_below_one_keypoints_equal_transformers(seed):
    maps = answers(8, 17, seed, noise=0.02)
    theirs, their_scores = transformers_keypoints(maps.numpy())
    ours, our_scores = Codec(decode_sigma=0.8).decode(maps, CROP)
    scale = np.array([47 / 191, 63 / 255])
    index = maps.reshape(8, 17, -1).argmax(-1)
    peaks = torch.stack([index % 48, index // 48], -1).numpy()
    near = (np.abs(theirs * scale - peaks) <= 1 - 1e-4).all(-1)
    assert near.mean() > 0.95
    assert np.abs(ours.numpy() - theirs)[near].max() < 1e-3
    assert np.array_equal(our_scores.numpy(), their_scores)
    assert np.abs(ours.numpy() * scale - peaks).max() <= 1 + 1e-4


def test_original_decoding_in_the_interior():
    """Against the original's arithmetic written out plainly: OpenCV blur, log, Newton."""
    maps = answers(8, 17, 5, margin=45)
    ours, _ = Codec().decode(maps, HEATMAP)
    checked = 0
    for one, got in zip(maps.reshape(-1, 64, 48).numpy(), ours.reshape(-1, 2).numpy(), strict=True):
        row, column = np.unravel_index(one.argmax(), one.shape)
        if not (6 <= row < 58 and 6 <= column < 42):
            continue
        log = np.log(np.clip(cv2.GaussianBlur(one, (11, 11), 0), 1e-3, 50)).astype(np.float64)
        near = log[row - 1 : row + 2, column - 1 : column + 2]
        slope = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
        xx, yy = near[1, 2] - 2 * near[1, 1] + near[1, 0], near[2, 1] - 2 * near[1, 1] + near[0, 1]
        xy = (near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]) / 2
        step = -np.linalg.solve(np.array([[xx, xy], [xy, yy]]) + 1.1920929e-7 * np.eye(2), slope)
        if np.abs(step).max() < 1:
            assert np.allclose(got, [column + step[0], row + step[1]], atol=1e-3)
            checked += 1
    assert checked > 80


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("keypoints", [1, 17, 133])
def test_a_person_is_the_same_to_the_bit_in_any_batch(convention, keypoints):
    maps = answers(11, keypoints, 3)
    codec = Codec(convention)
    xy, scores = codec.decode(maps, CROP)
    for people in ([4], [10, 4, 0], list(range(7))):
        some_xy, some_scores = codec.decode(maps[people], CROP)
        assert torch.equal(some_xy, xy[people])
        assert torch.equal(some_scores, scores[people])


@pytest.mark.parametrize("people", [0, 1, 38, 299, 300, 310, 5000])
@pytest.mark.parametrize("keypoints", [1, 17])
def test_large_batches_are_right(people, keypoints):
    # Index arithmetic in float32, as elsewhere, goes wrong from the 299th person of 17 keypoints.
    pattern = answers(7, keypoints, 4)
    expected_xy, expected_scores = Codec().decode(pattern, CROP)
    order = torch.arange(people) % 7
    for start in range(0, max(people, 1), 1000):
        part = order[start : start + 1000]
        xy, scores = Codec().decode(pattern[part], CROP)
        assert xy.shape == (len(part), keypoints, 2)
        assert torch.equal(xy, expected_xy[part])
        assert torch.equal(scores, expected_scores[part])


@pytest.mark.parametrize("people", [38, 300])
def test_large_batches_of_whole_bodies_are_right(people):
    one = answers(1, 133, 4)
    expected_xy, _ = Codec().decode(one, CROP)
    xy, _ = Codec().decode(one.expand(people, -1, -1, -1), CROP)
    assert torch.equal(xy, expected_xy.expand_as(xy))


@pytest.mark.parametrize("keypoints", [1, 17])
def test_five_thousand_people_in_one_call(keypoints):
    pattern = answers(1, keypoints, 4)
    expected_xy, _ = Codec().decode(pattern, CROP)
    xy, _ = Codec().decode(pattern.expand(5000, -1, -1, -1), CROP)
    assert torch.equal(xy, expected_xy.expand_as(xy))


def test_five_thousand_people_of_133_keypoints_without_copying_them():
    """An expanded tensor holds one person; decoding all needs memory for a chunk, not for 8 GB."""
    one = answers(1, 133, 6)
    xy, scores = Codec().decode(one.expand(5000, -1, -1, -1)[:, :, 16:48, 16:32], CROP)
    assert xy.shape == (5000, 133, 2)
    assert torch.equal(xy, xy[:1].expand_as(xy))
    assert torch.equal(scores[0], one[0, :, 16:48, 16:32].amax(dim=(1, 2)))


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_float_type_decodes_as_its_float32_copy(convention, dtype):
    maps = answers(3, 5, 7).to(dtype)
    xy, scores = Codec(convention).decode(maps, CROP)
    expected_xy, expected_scores = Codec(convention).decode(maps.float(), CROP)
    assert xy.dtype == scores.dtype == torch.float32
    assert torch.equal(xy, expected_xy)
    assert torch.equal(scores, expected_scores)


def test_numpy_and_strided_maps_decode_alike():
    maps = answers(3, 5, 8)
    expected = Codec().decode(maps, CROP)[0]
    assert torch.equal(Codec().decode(maps.numpy(), CROP)[0], expected)
    strided = maps.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    assert not strided.is_contiguous()
    assert torch.equal(Codec().decode(strided, CROP)[0], expected)


@pytest.mark.parametrize("convention", ["udp", "msra"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_map_scores_zero_at_the_centre_and_harms_no_other(convention, value):
    maps = answers(2, 3, 9)
    clean_xy, clean_scores = Codec(convention).decode(maps, CROP)
    broken = maps.clone()
    broken[0, 1, 5, 7] = value
    xy, scores = Codec(convention).decode(broken, CROP)
    assert scores[0, 1] == 0
    centre = [95.5, 127.5] if convention == "udp" else [94.0, 126.0]
    assert xy[0, 1].tolist() == pytest.approx(centre)
    others = torch.ones(2, 3, dtype=torch.bool)
    others[0, 1] = False
    assert torch.equal(xy[others], clean_xy[others])
    assert torch.equal(scores[others], clean_scores[others])


@pytest.mark.parametrize("convention", ["udp", "msra"])
def test_maps_without_a_positive_value_give_their_peak_unrefined(convention):
    maps = -1 - answers(1, 1, 10).abs()
    maps[0, 0, 20, 30] = -0.5
    xy, scores = Codec(convention).decode(maps, HEATMAP)
    assert scores.tolist() == [[-0.5]]
    assert xy.tolist() == [[[30.0, 20.0]]]
    zero_xy, zero_scores = Codec(convention).decode(torch.zeros(1, 1, 64, 48), HEATMAP)
    assert zero_scores.tolist() == [[0.0]]
    assert zero_xy.tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("decode_sigma", [0.8, 2.0])
def test_steps_stay_within_a_pixel_on_any_noise(decode_sigma):
    maps = torch.from_numpy(np.random.default_rng(11).normal(size=(50, 17, 16, 12)).astype(np.float32))
    xy, _ = Codec(decode_sigma=decode_sigma).decode(maps, Size(16, 12))
    index = maps.reshape(50, 17, -1).argmax(-1)
    peaks = torch.stack([index % 12, index // 12], -1)
    assert torch.isfinite(xy).all()
    assert (xy - peaks).abs().max() <= 1 + 1e-5
    assert (xy != peaks).any()


def test_a_flat_map_takes_no_step():
    xy, scores = Codec().decode(torch.ones(1, 1, 64, 48), HEATMAP)
    assert torch.isfinite(xy).all()
    assert scores.tolist() == [[1.0]]


def test_quarter_step_goes_to_the_higher_neighbour_but_not_at_the_rim():
    maps = torch.zeros(3, 1, 10, 10)
    maps[0, 0, 5, 5], maps[0, 0, 5, 6], maps[0, 0, 4, 5] = 1.0, 0.5, 0.5
    maps[1, 0, 5, 1], maps[1, 0, 5, 2] = 1.0, 0.5
    maps[2, 0, 8, 8], maps[2, 0, 7, 8] = 1.0, 0.5
    xy, _ = Codec("msra").decode(maps, Size(10, 10))
    assert xy[:, 0].tolist() == [[5.25, 4.75], [1.0, 5.0], [8.0, 7.75]]


def test_a_peak_beyond_the_rim_is_followed_outside():
    maps, weights = Codec().encode(torch.tensor([[[-0.6, 30.0]], [[20.0, 63.7]]]), torch.ones(2, 1), HEATMAP, HEATMAP)
    assert weights.min() == 1
    xy, _ = Codec().decode(maps, HEATMAP)
    assert xy[:, 0].numpy() == pytest.approx(np.array([[-0.6, 30.0], [20.0, 63.7]]), abs=0.01)


@pytest.mark.parametrize("width", [1.7, 2.0, 2.5])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 1.0, 2.2, 4.0])
def test_peaks_at_the_rim_may_be_narrower_or_wider_than_the_targets(width, place):
    xy = torch.tensor([[[place, 30.3]], [[47 - place, 30.3]], [[20.7, place]], [[20.7, 63 - place]]])
    maps, _ = Codec(sigma=width).encode(xy, torch.ones(4, 1), HEATMAP, HEATMAP)
    decoded, _ = Codec(sigma=2.0).decode(maps * 0.7, HEATMAP)
    assert (decoded - xy).abs().max() < 0.005


def test_noise_at_the_rim_costs_little_more_than_inside():
    generator = np.random.default_rng(1)
    errors = []
    for x in (0.5, 20.0):
        xy = np.stack([np.full((300, 1), x), generator.uniform(15, 50, (300, 1))], -1)
        maps, _ = Codec().encode(xy, np.ones((300, 1)), HEATMAP, HEATMAP)
        noise = generator.normal(0, 0.02, maps.shape).astype(np.float32)
        decoded, _ = Codec().decode(0.8 * maps + torch.from_numpy(noise), HEATMAP)
        errors.append(float((decoded[..., 0] - x).square().mean().sqrt()))
    rim, inside = errors
    assert inside < 0.03
    assert rim < 0.15


@pytest.mark.parametrize("decode_sigma", [0.8, 1.0, 2.0])
def test_transposed_maps_give_transposed_points(decode_sigma):
    maps = answers(4, 17, 12)
    codec = Codec(decode_sigma=decode_sigma)
    xy, _ = codec.decode(maps, HEATMAP)
    turned, _ = codec.decode(maps.transpose(-1, -2), Size(48, 64))
    assert torch.allclose(turned.flip(-1), xy, atol=1e-4)


@pytest.mark.parametrize("decode_sigma", [1.0, 2.0])
def test_mirrored_peaks_give_mirrored_points(decode_sigma):
    # Clean peaks only: DARK's mixed derivative reads one diagonal, so under noise mirroring is not exact.
    generator = np.random.default_rng(12)
    maps, _ = Codec().encode(generator.random((99, 1, 2)) * [191, 255], np.ones((99, 1)), CROP, HEATMAP)
    codec = Codec(decode_sigma=decode_sigma)
    xy, _ = codec.decode(maps, HEATMAP)
    mirrored, _ = codec.decode(maps.flip(-1), HEATMAP)
    assert torch.allclose(47 - mirrored[..., 0], xy[..., 0], atol=1e-4)
    upside_down, _ = codec.decode(maps.flip(-2), HEATMAP)
    assert torch.allclose(63 - upside_down[..., 1], xy[..., 1], atol=1e-4)


@pytest.mark.parametrize(
    "maps", [torch.zeros(3, 64, 48), torch.zeros(1, 1, 1, 48), torch.zeros(1, 1, 4, 4, dtype=torch.int32)]
)
def test_wrong_heatmaps_are_refused(maps):
    with pytest.raises(UsageError, match=r"\(people, keypoints, height, width\)"):
        Codec().decode(maps, CROP)


def test_the_argument_is_not_changed():
    maps = answers(2, 3, 13)
    kept = maps.clone()
    Codec().decode(maps, CROP)
    Codec("msra").decode(maps, CROP)
    assert torch.equal(maps, kept)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("convention", ["udp", "msra"])
def test_cuda_gives_what_the_cpu_gives(convention):
    maps = answers(64, 133, 14)
    xy, scores = Codec(convention).decode(maps, CROP)
    there, there_scores = Codec(convention).decode(maps.cuda(), CROP)
    assert torch.equal(there_scores.cpu(), scores)
    assert torch.allclose(there.cpu(), xy, atol=1e-3)
