"""Fine-tuning on a folder: from pictures and a JSON to a model and a page, with nothing to decide."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_runs import tiny
from typer.testing import CliRunner

from vitpose.core.errors import InputError, UsageError, VitPoseError, WeightsError
from vitpose.core.skeleton import load_skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.metrics.calibration import Calibration
from vitpose.models.pose import create_model
from vitpose.training.finetune import Labels, _named_labels, batch_for, epochs_for, find_labels, plan_finetuning
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model
from vitpose.weights.locate import locate


@pytest.fixture
def model(tmp_path):
    config = tiny("model.heads.0.skeleton=coco17", "model.heads.0.dataset=coco", "data.train.0.dataset=coco")
    path = tmp_path / "people.safetensors"
    save_checkpoint(path, create_model(config.model.spec(), seed=5), {"coco": load_skeleton("coco17")})
    return path


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of a creature with a nose, two eyes and an antenna."""
    data = tmp_path / "creatures"
    (data / "images").mkdir(parents=True)
    images, annotations = [], []
    random = np.random.default_rng(0)
    for number in range(1, 13):
        picture = random.integers(0, 255, (80, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(data / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 80})
        points = random.uniform(12, 50, (4, 2)).round(1)
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [8, 8, 48, 60],
                "area": 2880,
                "iscrowd": 0,
                "num_keypoints": 4,
                "keypoints": [value for x, y in points.tolist() for value in (x, y, 2)],
            }
        )
    names = ["nose", "left_eye", "right_eye", "antenna"]
    category = {"id": 1, "name": "creature", "keypoints": names, "skeleton": [[1, 2], [1, 3]]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (data / "labels.json").write_text(json.dumps(content))
    return data


def test_the_plan_follows_from_model_and_labels(model, folder, tmp_path):
    plan = plan_finetuning(folder, tmp_path / "run", model=str(model))
    assert not (tmp_path / "run").exists()
    plan.write_skeleton()
    config = plan.config
    spec = config.model.spec()
    assert spec.backbone.width == 32
    assert spec.heads[0].keypoints == 4
    skeleton = config.model.skeletons()["custom"]
    assert skeleton.flip_pairs == (("left_eye", "right_eye"),)
    assert config.model.start == str(model)
    # However few people there are, and so however many epochs, the score can end the run before its end.
    assert 0 < config.schedule.patience <= config.schedule.epochs // config.loop.evaluate_every / 2
    assert config.data.holdout == 0.15
    assert spec.heads[0].maps == "heatmaps"
    assert any("fewer than 500 pictures or 1000 people" in note for note in plan.notes)


def test_a_model_is_tuned_as_what_it_is(folder, tmp_path):
    config = tiny(
        "model.heads.0.skeleton=coco17", "model.heads.0.dataset=coco", "data.train.0.dataset=coco",
        "model.heads.0.maps=places", "model.heads.0.deconv_width=24", "model.backbone.stem=convolutions",
        "model.backbone.stem_depths=[0,1,2]", "model.backbone.drop_path=0.1",
    )  # fmt: skip
    path = tmp_path / "places.safetensors"
    save_checkpoint(path, create_model(config.model.spec(), seed=5), {"coco": load_skeleton("coco17")})
    begun = load_model(path).model.spec
    plan = plan_finetuning(folder, tmp_path / "run", model=str(path))
    plan.write_skeleton()
    tuned = plan.config.model.spec()
    assert (tuned.heads[0].maps, tuned.heads[0].deconv_width) == ("places", 24)
    assert tuned.backbone == begun.backbone
    assert (tuned.backbone.stem, tuned.backbone.stem_depths) == ("convolutions", (0, 1, 2))


def test_defaults_by_the_number_of_people():
    assert [epochs_for(people, 8) for people in (2_000_000, 20_000, 5000, 1000, 500, 100)] == [3, 3, 5, 12, 25, 125]
    assert [batch_for(width) for width in (192, 384, 768, 1024, 1280)] == [16, 16, 8, 4, 4]


def test_labels_that_are_named_keep_their_validation(folder, tmp_path):
    (train,) = folder.glob("*.json")
    (folder / "old.json").write_text(train.read_text())
    assert _named_labels(folder, Path(train.name)) == Labels(train, None)
    (folder / "val.json").write_text(train.read_text())
    assert _named_labels(folder, Path(train.name)) == Labels(train, folder / "val.json")
    assert _named_labels(folder, folder / "val.json") == Labels(folder / "val.json", None)
    assert _named_labels(folder, tmp_path / "none.json") == Labels(tmp_path / "none.json", None)


def test_labels_are_found_or_the_choice_is_named(folder, tmp_path):
    assert find_labels(folder).validation is None
    shutil.copy(folder / "labels.json", folder / "val.json")
    found = find_labels(folder)
    assert (found.train.name, found.validation.name) == ("labels.json", "val.json")
    shutil.copy(folder / "labels.json", folder / "other.json")
    with pytest.raises(InputError, match=r"labels\.json, other\.json, val\.json"):
        find_labels(folder)
    with pytest.raises(InputError, match="no such folder"):
        find_labels(tmp_path / "nowhere")


def command():
    import typer

    from vitpose.cli.train import train

    app = typer.Typer()
    app.command(name="train")(train)
    app.command(name="other")(lambda: None)
    return app


def invoke(*words: str):
    return CliRunner().invoke(command(), ["train", *words])


def test_one_command_gives_a_model_and_a_page(model, folder, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "--data", str(folder), "--model", str(model), "--out", str(out), "--cpu"]
    result = invoke(
        *words, "--set", "schedule.epochs=2", "--set", "loop.evaluate_every=1", "--set", "loop.precision=fp32"
    )
    assert result.exit_code == 0, result.output + str(result.exception)
    assert (out / "report" / "index.html").read_text(encoding="utf-8").count("antenna") >= 1
    assert {"evaluation.json", "curves.png", "skeleton.toml", "config.toml"} <= {path.name for path in out.iterdir()}
    loaded = load_model(out / "best.safetensors")
    assert Calibration.from_dict(loaded.metadata["calibration"]["custom"]).keypoints[3] == "antenna"
    assert loaded.skeletons["custom"].keypoints == ("nose", "left_eye", "right_eye", "antenna")
    assert "3 keypoints match by name, 1 start fresh (antenna)" in result.output
    # Calibrated for what predict does by default, and what was held out can be measured again.
    assert dict(loaded.metadata["calibration"]["custom"])["settings"]["flip_test"] in (False, "False")
    held = read_labelled("coco", out / "validation.json")
    assert 0 < len(held) < 12
    assert {record.image.exists() for record in held.records} == {True}
    assert locate(out).path == out / "best.safetensors"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("model.input_size=[100,100]", "multiple"),
        ("data.workers=-1", "at least 0"),
        ("data.train.0.images=nowhere", "nowhere"),
    ],
)
def test_a_run_that_cannot_begin_leaves_the_folder_free(model, folder, tmp_path, change, error):
    out = tmp_path / "run"
    words = ["finetune", "--data", str(folder), "--model", str(model), "--out", str(out), "--cpu"]
    result = invoke(*words, "--set", "schedule.epochs=1", "--set", change)
    assert isinstance(result.exception, VitPoseError)
    assert error in str(result.exception)
    assert not out.exists()


def test_showing_settings_writes_nothing_and_a_run_that_is_there_keeps_its_skeleton(model, folder, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "--data", str(folder), "--model", str(model), "--out", str(out)]
    assert invoke(*words, "--show").exit_code == 0
    assert not out.exists()
    out.mkdir()
    (out / "config.toml").write_text("")
    (out / "skeleton.toml").write_text("mine")
    assert "already holds a run" in str(invoke(*words).exception)
    assert (out / "skeleton.toml").read_text() == "mine"


def test_one_labelled_picture_is_too_few_to_hold_some_out(model, folder, tmp_path):
    labels = json.loads((folder / "labels.json").read_text())
    labels["annotations"] = labels["annotations"][:1]
    (folder / "labels.json").write_text(json.dumps(labels))
    out = tmp_path / "run"
    result = invoke("finetune", "--data", str(folder), "--model", str(model), "--out", str(out), "--cpu")
    assert isinstance(result.exception, InputError)
    assert "1 picture" in str(result.exception)
    assert not out.exists()


def test_the_list_names_every_recipe_and_its_purpose():
    result = invoke("--list")
    assert result.exit_code == 0
    assert "coco-b-simple" in result.output
    assert "ViTPose-B, simple head, on COCO." in result.output


def test_show_prints_settings_that_can_be_read_back(tmp_path):
    result = invoke("coco-s", "--data", "/data", "--set", "optim.lr=1e-4", "--show")
    file = tmp_path / "mine.toml"
    file.write_text(result.output)
    again = invoke(str(file), "--show")
    assert again.output == result.output
    assert 'root = "/data"' in result.output
    assert "lr = 0.0001" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a recipe"),
        (("finetune",), "needs --data"),
        (("coco-b", "--annotations", "x.json"), "belongs to"),
        (("coco-x",), "unknown recipe 'coco-x'"),
    ],
)
def test_usage_errors_say_what_to_do(words, message):
    result = invoke(*words)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_without_a_network_the_model_that_is_at_hand_is_named(folder, tmp_path, monkeypatch):
    def nowhere(*_given, **_settings):
        raise WeightsError("cannot get it")

    monkeypatch.setattr("vitpose.training.finetune.load_model", nowhere)
    monkeypatch.setattr("vitpose.weights.catalog.is_on_disk", lambda _row: tmp_path)
    result = invoke("finetune", "--data", str(folder), "--out", str(tmp_path / "run"))
    assert isinstance(result.exception, WeightsError)
    assert "--model embedded" in str(result.exception)
    assert not (tmp_path / "run").exists()
    asked = invoke("finetune", "--data", str(folder), "--out", str(tmp_path / "run"), "--model", "vitpose-l")
    assert str(asked.exception) == "cannot get it"
    monkeypatch.setattr("vitpose.weights.catalog.is_on_disk", lambda _row: None)
    bare = invoke("finetune", "--data", str(folder), "--out", str(tmp_path / "run"))
    assert str(bare.exception) == "cannot get it"


def test_a_wrong_setting_leaves_nothing(model, folder, tmp_path):
    words = ("--data", str(folder), "--out", str(tmp_path / "run"), "--model", str(model), "--set", "bogus.key=1")
    assert isinstance(invoke("finetune", *words).exception, UsageError)
    assert not (tmp_path / "run").exists()
