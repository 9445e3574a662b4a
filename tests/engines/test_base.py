import numpy as np
import pytest
import torch

from vitpose.codec.codec import Codec
from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size
from vitpose.engines.base import Engine, FakeEngine, check_crops

SIZE = Size(64, 48)


@pytest.mark.parametrize("people", [0, 1, 3])
def test_fake_engine_puts_keypoints_at_their_places(people):
    places = [(0.0, 0.0), (0.5, 0.25), (1.0, 1.0)]
    engine: Engine = FakeEngine(places)
    heatmaps = engine(np.zeros((people, 256, 192, 3), dtype=np.uint8))
    assert heatmaps.shape == (people, 3, 64, 48)
    assert heatmaps.dtype == np.float32
    xy, scores = Codec().decode(heatmaps, engine.input_size)
    assert (scores > 0.9).all()
    expected = np.broadcast_to(np.array(places) * [191, 255], (people, 3, 2))
    assert np.abs(xy.numpy() - expected).max(initial=0) < 0.01
    engine.close()
    assert engine(np.zeros((people, 256, 192, 3), dtype=np.uint8)).shape == heatmaps.shape


def test_fake_engine_gives_fresh_arrays():
    engine = FakeEngine([(0.5, 0.5)], input_size=SIZE, heatmap_size=Size(16, 12), codec=Codec("msra"))
    crops = np.zeros((2, 64, 48, 3), dtype=np.uint8)
    first = engine(crops)
    first[:] = 7
    assert engine(crops).max() == 1


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((1, 64, 48, 3), dtype=np.float32),
        np.zeros((1, 48, 64, 3), dtype=np.uint8),
        np.zeros((1, 64, 48, 1), dtype=np.uint8),
        np.zeros((1, 3, 64, 48), dtype=np.uint8),
        np.zeros((64, 48, 3), dtype=np.uint8),
        torch.zeros((1, 64, 48, 3)),
        [[1, 2, 3]],
        None,
    ],
)
def test_wrong_crops_are_refused(crops):
    with pytest.raises(UsageError, match=r"uint8 array \(people, 64, 48, 3\)"):
        check_crops(crops, SIZE)


def test_right_crops_pass():
    check_crops(np.zeros((0, 64, 48, 3), dtype=np.uint8), SIZE)
    check_crops(torch.zeros((2, 64, 48, 3), dtype=torch.uint8), SIZE)
