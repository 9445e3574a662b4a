"""The chain that makes the embedded pair: every stage on a handful of real people, and the data's way there."""

import json
import zipfile

import numpy as np
import pytest
import torch
from scripts.embedded import (
    common,
    pack,
    page,
    small_machine,
    stage1_pretrain,
    stage2_teacher,
    stage3_pseudo,
    stage4_student,
    stage5_detector,
    stage6_report,
)

from vitpose.core.errors import InputError, UsageError
from vitpose.models.detector import PersonNet
from vitpose.training.recipe import load_config
from vitpose.weights.detector import load_detector
from vitpose.weights.load import load_model


@pytest.mark.slow
def test_every_stage_runs_small_and_the_last_writes_the_pair(shared, tmp_path):
    def stage(module, name, *more):
        small = ["--data", str(shared / "data"), "--out", str(tmp_path / name), "--small", "--cpu"]
        module.main([*small, *map(str, more)])
        return tmp_path / name

    start = stage(stage1_pretrain, "pretrain", "--size", "ti") / "last.safetensors"
    teacher = stage(stage2_teacher, "teacher", "--size", "ti", "--start", start) / "last.safetensors"
    assert [head.dataset for head in load_model(teacher).model.spec.heads] == ["coco", "lspet"]
    pseudo = stage(stage3_pseudo, "pseudo", "--teacher", teacher)
    made = json.loads((pseudo / "athletes-coco.json").read_text())
    assert len(made["annotations"]) > 0
    assert len(made["annotations"][0]["keypoints"]) == 51
    student = stage(stage4_student, "student", "--teacher", teacher, "--pseudo", pseudo) / "student"
    sets = load_config(student / "config.toml").data.train
    assert len(sets) == 5
    found = stage(stage5_detector, "detector", "--epochs", 2, "--athletes", 4)
    assert load_detector(found / "last.safetensors").metadata["step"] == 4
    weights = [student / "last.safetensors", found / "best.safetensors"]
    report = stage(stage6_report, "report", "--model", weights[0], "--detector", weights[1])
    results = json.loads((report / "results.json").read_text())
    assert results["fits"]
    assert set(results["results"][results["chosen"]]) >= {"coco_ap", "lsp_pck", "detected_ap", "recall_tall"}
    pair = load_model(report / "vitpose-embedded.safetensors")
    assert pair.name == "vitpose-embedded"
    assert set(pair.metadata["calibration"]) <= {"coco", "lspet"}
    assert load_detector(report / "person-detector.safetensors").metadata["scores"]["pictures"] == 4
    assert "research use" in (report / "MODEL_CARD.md").read_text()
    assert (report / "contact.jpg").stat().st_size > 1000
    # Asked again, a finished stage has nothing left to do.
    before = (tmp_path / "teacher" / "state.pt").read_bytes()
    stage(stage2_teacher, "teacher", "--size", "ti", "--start", start)
    assert (tmp_path / "teacher" / "state.pt").read_bytes() == before


@pytest.mark.slow
def test_the_small_machines_run_learns_places_and_goes_on(shared, tmp_path):
    given = ["--data", str(shared / "data"), "--out", str(tmp_path), "--small", "--cpu"]
    small_machine.main(given)
    config = load_config(tmp_path / "config.toml")
    assert config.model.init == "structured"
    assert {head.maps for head in config.model.heads} == {"places"}
    maps = load_model(tmp_path / "last.safetensors").model(torch.zeros(1, 3, *config.model.input_size))
    assert bool((maps > 0).all())
    before = (tmp_path / "state.pt").read_bytes()
    small_machine.main(given)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_nothing_of_the_validation_parts_is_learned_from(shared):
    pictures = common.detector_pictures(shared / "data")
    training, judged = ({one.path for one in side} for side in (pictures.train, pictures.validation))
    assert not training & judged
    held = set(common.splits(shared / "data")["no_people"]["val"])
    assert not {path.name for path in training if path.parent.parent.name == "no_people"} & held
    athletes = [int(path.stem[2:]) for path in training if path.parent.parent.name == "lspet"]
    assert max(athletes) <= 9500
    for name in ("pretrain", "teacher", "token", "student", "small_machine"):
        for one in load_config(common.RECIPES / f"{name}.toml").data.train:
            assert one.annotations == "coco/person_keypoints_train.json" or (one.first, one.skip) == (9500, 0)


def test_students_that_are_to_be_shipped_fit_the_limit():
    for size in ("ti", "s6"):
        changes = [f"model.backbone.{key}={value}" for key, value in common.SIZES[size].items()]
        changes += [f"model.heads.{place}.kind={stage4_student.HEADS[size]}" for place in range(2)]
        config = load_config(common.RECIPES / "student.toml", changes)
        from vitpose.models.pose import VitPose

        with torch.device("meta"):
            values = sum(value.numel() for value in VitPose(config.model.spec()).state_dict().values())
        assert 2 * values < stage6_report.POSE_LIMIT


def fill(data):
    for part in pack.PARTS:
        (data / part).mkdir(parents=True)
        (data / part / "labels.json").write_text("{}" * 40)
        for number in range(4):
            (data / part / f"{number}.jpg").write_bytes(np.random.default_rng(number).bytes(900))
    (data / "splits.json").write_text("{}")


def test_packed_data_comes_back_byte_by_byte_in_parts_below_the_limit(tmp_path):
    fill(tmp_path / "data")
    parts = pack.pack(tmp_path / "data", tmp_path / "packs", limit=6000)
    assert len(parts) > 1
    assert all(part.stat().st_size <= 6000 for part in parts)
    assert pack.unpack(parts, tmp_path / "back") == 21
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(tmp_path / "data")).read_bytes() == path.read_bytes()
    with pytest.raises(UsageError, match="larger than a part"):
        pack.pack(tmp_path / "data", tmp_path / "packs", limit=500)
    with pytest.raises(InputError, match="splits"):
        pack.pack(tmp_path / "packs", tmp_path / "more")
    (tmp_path / "bad.zip").write_bytes(b"no")
    with pytest.raises(InputError, match="unpacked"):
        pack.unpack([tmp_path / "bad.zip"], tmp_path / "back")
    with zipfile.ZipFile(parts[0]) as archive:
        assert "splits.json" in archive.namelist()


def test_the_operating_point_moves_to_the_default_threshold():
    net = PersonNet(stage5_detector.SMALL).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(images).logits
        after = stage6_report.recentred(net, 0.05)(images).logits
    shift = np.log(0.3 / 0.7) - np.log(0.05 / 0.95)
    torch.testing.assert_close(after, before + shift)


def test_targets_are_judged_on_the_right_side():
    higher, lower = page.TARGETS[0], page.TARGETS[-1]
    assert [higher.verdict(value) for value in (0.2, 0.3, 0.6)] == ["missed", "floor reached", "aim reached"]
    assert [lower.verdict(value) for value in (0.2, 0.08, 0.01)] == ["missed", "floor reached", "aim reached"]
    assert higher.verdict(float("nan")) == "not measured"
