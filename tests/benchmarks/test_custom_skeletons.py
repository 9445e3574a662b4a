"""Sets of animals become folders that fine-tuning reads, cut so that no part shows what another has seen."""

import json

import custom_skeletons
import harness
import pytest
from skeleton_sets import ANIMALS, by_bee, converted
from tiny_runs import tiny

from vitpose.core.skeleton import load_skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.models.pose import create_model
from vitpose.training.finetune import find_labels
from vitpose.weights.checkpoint import save_checkpoint

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def sets(shared, tmp_path_factory):
    return {name: converted(name, shared / "data", tmp_path_factory.mktemp("sets")) for name in ANIMALS}


@pytest.mark.parametrize("name", ANIMALS)
def test_every_set_is_read_by_the_fine_tune_command(name, sets):
    folder = sets[name]
    parts = {part: read_labelled("coco", folder / f"{part}.json") for part in PARTS}
    shown = {part: {record.image.name for record in labelled.records} for part, labelled in parts.items()}
    for part, labelled in parts.items():
        assert len(labelled.skeleton) == ANIMALS[name].keypoints
        assert len(labelled.for_training()) >= 8
        assert all((folder / "images" / picture).exists() for picture in shown[part])
    assert not shown["train"] & shown["test"]
    assert not shown["train"] & shown["val"]
    assert not shown["val"] & shown["test"]
    found = find_labels(custom_skeletons.visible(folder))
    assert (found.train.name, found.validation.name) == ("train.json", "val.json")
    assert len(read_labelled("coco", found.train)) == len(parts["train"])


def test_no_bee_is_in_two_parts(shared):
    images = json.loads((shared / "data" / "bee" / "annotations.json").read_text())["images"]
    parts = by_bee(images)
    bees = {part: {image["file_name"].rpartition("_f")[0] for image in chosen} for part, chosen in parts.items()}
    assert sum(map(len, parts.values())) == len(images)
    assert not bees["train"] & bees["val"]
    assert not (bees["train"] | bees["val"]) & bees["test"]


def test_blocks_of_flies_keep_apart(sets):
    frames = {
        part: [int(entry["id"]) for entry in json.loads((sets["fly"] / f"{part}.json").read_text())["images"]]
        for part in PARTS
    }
    assert max(frames["train"]) + 20 <= min(frames["val"])
    assert max(frames["val"]) + 20 <= min(frames["test"])


def test_the_study_runs_and_goes_on_where_it_was(shared, tmp_path, monkeypatch, capsys):
    config = tiny("model.heads.0.skeleton=coco17", "model.heads.0.dataset=coco", "data.train.0.dataset=coco")
    weights = tmp_path / "human.safetensors"
    save_checkpoint(weights, create_model(config.model.spec(), seed=5), {"coco": load_skeleton("coco17")})
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(custom_skeletons, "RESULTS", tmp_path)
    given = ["--data", shared / "data", "--model", weights, "--out", tmp_path / "runs", "--cpu", "--threads", 1]

    def run():
        more = ["--sets", "mouse_reaching", "--steps", 2]
        monkeypatch.setattr("sys.argv", ["custom_skeletons.py", *map(str, [*given, *more])])
        custom_skeletons.main()
        return json.loads((tmp_path / "custom_skeletons.json").read_text())["result"]

    first = run()
    for start in ("human", "random"):
        found = first["sets"]["mouse_reaching"][start]
        assert found["steps"] >= 2
        assert set(found["after"]) == {"all", "Hand", "Finger1", "Tongue", "Joystick1", "Joystick2"}
        assert found["before"] != found["after"]
        assert 0 < found["guess"]["all"] < 50
    assert first["sets"]["mouse_reaching"]["random"]["notes"] == []
    before = (tmp_path / "custom_skeletons.json").stat().st_mtime_ns
    run()
    assert (tmp_path / "custom_skeletons.json").stat().st_mtime_ns == before
    capsys.readouterr()
