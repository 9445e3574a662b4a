"""Starting weights: what fits carries over by name, and nothing else."""

from dataclasses import replace

import pytest
import torch
from tiny_runs import tiny

from vitpose.core.errors import WeightsError
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.pose import create_model
from vitpose.training.start import matching_keypoints, start_from
from vitpose.weights.checkpoint import save_checkpoint

CUSTOM = Skeleton("custom", ("tail", "Left Eye", "nose", "antenna"))


@pytest.fixture
def source(tmp_path):
    config = tiny("model.heads.0.skeleton=coco17", "model.heads.0.dataset=coco", "data.train.0.dataset=coco")
    model = create_model(config.model.spec(), seed=5)
    path = tmp_path / "people.safetensors"
    save_checkpoint(path, model, {"coco": load_skeleton("coco17")})
    return model, path


def custom(tmp_path, *changes: str):
    from vitpose.training.settings import dump_toml

    file = tmp_path / "custom.toml"
    file.write_text(dump_toml(CUSTOM.to_dict()))
    config = tiny(f"model.heads.0.skeleton={file}", *changes)
    return create_model(config.model.spec(), seed=0), config.model.skeletons()


def test_backbone_and_matching_keypoints_carry_over_and_the_rest_is_fresh(source, tmp_path):
    old, path = source
    model, skeletons = custom(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    notes = start_from(model, skeletons, path)
    for name, value in model.state_dict().items():
        if name.startswith("backbone."):
            assert torch.equal(value, old.state_dict()[name])
    theirs, ours = old.heads["coco"].out, model.heads["body"].out
    names = load_skeleton("coco17")
    assert torch.equal(ours.weight[2], theirs.weight[names.index("nose")])
    assert torch.equal(ours.weight[1], theirs.weight[names.index("left_eye")])
    for fresh in (0, 3):
        assert torch.equal(ours.weight[fresh], before["heads.body.out.weight"][fresh])
    assert "2 keypoints match by name, 2 start fresh (tail, antenna)" in notes[-1]


def test_another_kind_of_head_starts_fresh_and_another_input_size_is_fitted(source, tmp_path):
    _, path = source
    model, skeletons = custom(tmp_path, "model.heads.0.kind=classic", "model.input_size=[96, 64]")
    before = {name: value.clone() for name, value in model.heads.state_dict().items()}
    notes = start_from(model, skeletons, path)
    assert any("starts fresh: no head of the source is of its kind" in note for note in notes)
    assert any("position" in note for note in notes)
    assert all(torch.equal(value, before[name]) for name, value in model.heads.state_dict().items())


def test_the_expert_goes_with_the_head(tmp_path):
    changes = "model.heads.0.skeleton=coco17", "model.heads.0.dataset=coco", "data.train.0.dataset=coco"
    spec = tiny(*changes, "model.backbone.experts=2", "model.backbone.expert_width=8").model.spec()
    (first,) = spec.heads
    other = replace(first, dataset="custom", skeleton="custom", keypoints=len(CUSTOM), expert=1)
    old = create_model(replace(spec, heads=(first, other)), seed=5)
    path = tmp_path / "both.safetensors"
    save_checkpoint(path, old, {"coco": load_skeleton("coco17"), "custom": CUSTOM})
    model, skeletons = custom(tmp_path)
    notes = start_from(model, skeletons, path)
    assert "kept the expert of custom" in notes
    images = torch.rand(2, 3, *model.spec.input_size)
    with torch.no_grad():
        assert torch.allclose(model.eval()(images), old.eval()(images, "custom"), atol=1e-5)


def test_experts_start_from_the_last_rows(source, tmp_path):
    old, path = source
    model, skeletons = custom(tmp_path, "model.backbone.experts=2", "model.backbone.expert_width=8")
    start_from(model, skeletons, path)
    ffn, dense = model.backbone.blocks[1].ffn, old.backbone.blocks[1].ffn
    assert torch.equal(ffn.fc2.weight, dense.fc2.weight[:-8])
    for expert in ffn.experts:
        assert torch.equal(expert.weight, dense.fc2.weight[-8:])


def test_a_backbone_trained_without_labels_brings_no_head(source, tmp_path):
    old, path = source
    save_checkpoint(path, old, {"coco": load_skeleton("coco17")}, {"objective": "masked"})
    model, skeletons = custom(tmp_path)
    before = model.heads["body"].out.weight.clone()
    assert "heads start fresh" in start_from(model, skeletons, path)[-1]
    assert torch.equal(model.heads["body"].out.weight, before)


def test_another_width_is_an_error(source, tmp_path):
    _, path = source
    model, skeletons = custom(tmp_path, "model.backbone.width=64")
    with pytest.raises(WeightsError):
        start_from(model, skeletons, path)


def test_names_match_whatever_their_spelling():
    assert matching_keypoints(("nose", "left_eye"), ("L_Eye", "beak", "Nose")) == {0: 1, 2: 0}
