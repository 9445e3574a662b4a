"""The package's own detector through the ordinary path: by name and by file."""

import numpy as np
import pytest
import torch

from vitpose.core.errors import WeightsError
from vitpose.core.poses import Boxes
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.pipeline import assemble
from vitpose.pipeline.assemble import Search, make_detector
from vitpose.weights.detector import save_detector


@pytest.fixture
def file(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PersonNet(DetectorSpec(side=64, widths=(8, 8, 8, 8), depths=(0, 0, 0, 0), blocks=1, heads=2, neck=8))
    for score in net.score:
        torch.nn.init.ones_(score.bias)
    path = tmp_path / "detector.safetensors"
    save_detector(path, net)
    return path


def test_a_file_of_ours_is_a_detector(file):
    detector = make_detector(str(file), Search(threshold=0.1, max_people=2), device="cpu")
    (boxes,) = detector([np.zeros((40, 60, 3), np.uint8)])
    assert len(boxes) == 2


def test_the_name_finds_the_packaged_file_or_says_what_to_do(file, monkeypatch):
    image = np.zeros((40, 60, 3), np.uint8)
    monkeypatch.setattr(assemble, "packaged_detector", lambda: file)
    assert len(make_detector("embedded", Search(threshold=0.1), device="cpu")([image])[0]) > 0
    monkeypatch.setattr(assemble, "packaged_detector", lambda: None)
    with pytest.raises(WeightsError, match="carries no detector"):
        make_detector("embedded", Search(), device="cpu")([image])


@pytest.mark.parametrize(("dataset", "first"), [("", "person"), ("coco", "person"), ("ap10k", "bird")])
def test_a_detector_looks_for_what_the_head_is_for(dataset, first, monkeypatch):
    asked = []

    class Found:
        def __init__(self, source, *, classes, **_):
            self.classes = classes

        def for_classes(self, classes):
            asked.append(classes)
            return lambda images: [Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())] * len(images)

    monkeypatch.setattr(assemble, "HuggingFaceDetector", Found)
    make_detector("some/detector", Search(), device="cpu", dataset=dataset)([np.zeros((8, 8, 3), np.uint8)])
    assert asked[0][0] == first
