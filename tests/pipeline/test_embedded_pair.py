"""``auto`` in Python and on the command line: the pair that comes with the package, where nothing else is to be had."""

import hashlib
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitpose
from vitpose.cli.main import main
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.weights import catalog
from vitpose.weights.catalog import find_model
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.detector import PACKAGED, load_detector, save_detector

IMAGE = np.zeros((40, 60, 3), np.uint8)
DETECTOR = DetectorSpec(side=64, widths=(8, 8, 8, 8), depths=(0, 0, 0, 0), blocks=1, heads=2, neck=8)
HEADS = (
    HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, kind="simple"),
    HeadSpec(dataset="lspet", skeleton="body14", keypoints=14, kind="simple"),
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that carries a tiny pair, on a disk with nothing else, without a network."""
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(catalog, "_packaged_folder", lambda: folder)
    # The row may know the hash of the pair that this package really carries.
    names = {name: replace(row, sha256="") if row.packaged else row for name, row in catalog._names().items()}
    monkeypatch.setattr(catalog, "_names", lambda: names)
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    spec = ModelSpec(
        name="vitpose-embedded", backbone=BackboneSpec(width=32, depth=1, heads=2), heads=HEADS, input_size=Size(64, 48)
    )
    skeletons = {head.dataset: load_skeleton(head.skeleton) for head in HEADS}
    save_checkpoint(folder / find_model("embedded").packaged, create_model(spec, seed=0), skeletons, half=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PersonNet(DETECTOR)
    for score in net.score:
        assert isinstance(score, torch.nn.Conv2d)
        assert score.bias is not None
        torch.nn.init.ones_(score.bias)  # finds people everywhere
    save_detector(folder / PACKAGED, net, half=True)
    return folder


def test_a_photo_without_a_network_meets_the_embedded_pair(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(IMAGE).save("photo.png")
    monkeypatch.setattr(sys, "argv", ["vitpose", "predict", "photo.png"])
    monkeypatch.setattr(logging.root, "handlers", [])  # the command sets its own up, as in a fresh process
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    said = [line for line in capsys.readouterr().err.splitlines() if "comes with the package" in line]
    assert len(said) == 1
    assert "choose with --model and --detector" in said[0]
    document = json.loads(Path("poses/photo.json").read_text())
    assert document["people"]
    model, detector = package / find_model("embedded").packaged, load_detector(package / PACKAGED)
    assert document["model"]["name"] == "vitpose-embedded"
    assert document["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert document["model"]["detector"] == f"person-detector {detector.sha256[:12]}"


def test_only_the_detector_is_chosen_where_the_model_is_named(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    pose = vitpose.load("random:vitpose-ti", engine="eager")
    assert pose(IMAGE, boxes=[[5, 5, 30, 35]]).model.detector == "auto", "nobody has asked for it yet"
    assert pose(IMAGE).model.detector.startswith("person-detector ")
    assert [record.levelname for record in caplog.records if "choose with --detector" in record.message] == ["WARNING"]


@pytest.mark.parametrize("name", ["embedded", "vitpose-embedded"])
def test_the_embedded_model_brings_its_detector(package: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    people = vitpose.load(name, engine="eager")(IMAGE)
    assert people.model.detector.startswith("person-detector ")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    athletes = vitpose.load(name, engine="eager", dataset="lspet")(IMAGE)
    assert athletes.xy.shape[1] == 14
