"""Pictures without labels."""

import numpy as np
import pytest
from made_up_sets import draw_pictures, make_set
from PIL import Image

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.unlabelled import Unlabelled

SIZE = Size(64, 48)


def ramp(folder, width=160, height=120):
    """Write a picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(np.stack([x, y, np.full_like(x, 9)], axis=-1)).save(folder / "deep/ramp.png")
    (folder / "notes.txt").write_text("no picture")


def test_parts_of_pictures(tmp_path):
    ramp(tmp_path)
    source = Unlabelled.of_folder(tmp_path, SIZE, smallest_part=0.2)
    assert len(source) == 1
    batch = source.draw(np.zeros(300, dtype=np.int64), np.arange(300))
    assert batch.xy.shape == (300, 0, 2)
    assert batch.weights.shape == (300, 0)
    inner = batch.crops.numpy()[:, 2:-2, 2:-2].astype(float)
    assert (inner[..., 2] == 9).all()
    mirrored = inner[:, 30, -1, 0] < inner[:, 30, 0, 0]
    assert 0.35 < mirrored.mean() < 0.65
    width = np.abs(inner[:, 30, -1, 0] - inner[:, 30, 0, 0]) / 43 * 48
    height = (inner[:, -1, 20, 1] - inner[:, 0, 20, 1]) / 59 * 64
    part = width * height / (160 * 120)
    assert part.min() > 0.17
    assert part.max() < 1.05
    # Stretched by at most a third either way, unless the picture's rim stood in the way.
    assert np.quantile(width / height, [0.05, 0.95]) == pytest.approx([0.57, 1.0], abs=0.05)


def test_parts_of_people_lie_in_their_regions(tmp_path):
    labelled = make_set(load_skeleton("coco17"), people=6, folder=tmp_path)
    draw_pictures(labelled)
    source = Unlabelled.of_people(labelled, SIZE, smallest_part=0.5)
    assert len(source) == 6
    one, other = (source.draw(np.array([2, 2]), np.array([seed, 9])) for seed in (1, 2))
    assert (one.crops[1] == other.crops[1]).all()
    assert (one.crops[0] != other.crops[0]).any()
    assert source.name_of(2).endswith("001.png")


def test_what_has_no_pictures(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        Unlabelled.of_folder(tmp_path / "none", SIZE)
    with pytest.raises(InputError, match="no pictures"):
        Unlabelled.of_folder(tmp_path, SIZE)
    with pytest.raises(UsageError, match="no pictures to train on"):
        Unlabelled.of_people(make_set(load_skeleton("coco17")).select([]), SIZE)
    with pytest.raises(UsageError, match="smallest part"):
        Unlabelled((tmp_path / "a.png",), None, SIZE, 0)
