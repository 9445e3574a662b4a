"""Starting from masked pre-training or from another model: what is copied, adapted and left fresh."""

from dataclasses import replace

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import COCO, heatmaps, random_model, tiny_plus, tiny_spec, write
from torch.nn import functional as F

from vitpose.core.errors import WeightsError
from vitpose.core.geometry import Size
from vitpose.models.pose import VitPose
from vitpose.models.variants import HeadSpec
from vitpose.weights.initialize import initialize_from_pose
from vitpose.weights.load import load_model


def resized(positions: torch.Tensor, side: int, grid: tuple[int, int]) -> torch.Tensor:
    picture = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    picture = F.interpolate(picture, size=grid, mode="bicubic", align_corners=False)
    return picture.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("side", "patch"), [(14, 16), (16, 14)])
def test_a_pre_trained_backbone(tmp_path, side, patch):
    teacher = random_model(tiny_spec())
    raw = foreign.pre_trained(teacher, side=side, patch=patch)
    path = write(tmp_path / "mae.pth", raw, "model")
    with pytest.raises(WeightsError, match="masked pre-training without a head"):
        load_model(path)
    loaded = load_model(path, spec=tiny_spec())
    found = loaded.model.state_dict()
    kernel = F.pad(raw["patch_embed.proj.weight"], ((16 - patch) // 2,) * 4)
    assert torch.equal(found["backbone.patch_embed.weight"], kernel)
    assert torch.equal(found["backbone.pos_embed"], resized(raw["pos_embed"], side, (4, 3)))
    for name, value in teacher.state_dict().items():
        if ".blocks." in name or name == "backbone.patch_embed.bias":
            assert torch.equal(found[name], value), name
    assert torch.equal(found["backbone.norm.weight"], torch.ones(192))
    assert not found["backbone.norm.bias"].any()
    assert any("all heads start fresh" in words for words in loaded.assumptions)
    reasons = " ".join(loaded.ignored)
    assert all(word in reasons for word in ("decoder", "class and mask", "last norm"))


def test_pre_training_as_mmpose_hands_it_out(tmp_path):
    teacher = random_model(tiny_spec())
    state = {name.removeprefix("backbone."): v for name, v in foreign.mmpose(teacher).items() if "head." not in name}
    state["cls_token"] = torch.zeros(1, 1, 192)
    found = load_model(write(tmp_path / "a.pth", state), spec=tiny_spec()).model.state_dict()
    assert torch.equal(found["backbone.pos_embed"], teacher.state_dict()["backbone.pos_embed"])
    assert torch.equal(found["backbone.blocks.1.qkv.bias"], teacher.state_dict()["backbone.blocks.1.qkv.bias"])


def test_experts_all_start_from_the_last_rows(tmp_path):
    teacher = random_model(tiny_spec())
    path = write(tmp_path / "mae.pth", foreign.pre_trained(teacher), "model")
    plus = load_model(path, spec=tiny_plus()).model
    dense = teacher.state_dict()
    for block in range(2):
        for kind in ("weight", "bias"):
            whole = dense[f"backbone.blocks.{block}.ffn.fc2.{kind}"]
            found = {name: value for name, value in plus.state_dict().items() if f"blocks.{block}.ffn" in name}
            assert torch.equal(found[f"backbone.blocks.{block}.ffn.fc2.{kind}"], whole[:144])
            for expert in range(6):
                assert torch.equal(found[f"backbone.blocks.{block}.ffn.experts.{expert}.{kind}"], whole[144:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("blocks.0.attn.qkv.bias"), r"1 missing: blocks\.0\.attn\.qkv\.bias"),
        (lambda state: state.update(surprise=torch.zeros(1)), "1 not expected: surprise"),
        (lambda state: state.update(pos_embed=torch.zeros(1, 24, 192)), "fit no grid of tokens"),
        (lambda state: state.update({"norm1.weight": torch.zeros(1)}), "not expected: norm1"),
        (lambda state: state["pos_embed"].fill_(float("nan")), "NaN or infinite"),
    ],
)
def test_damaged_pre_training(tmp_path, change, message):
    state = foreign.pre_trained(random_model(tiny_spec()))
    change(state)
    with pytest.raises(WeightsError, match=message):
        load_model(write(tmp_path / "mae.pth", state, "model"), spec=tiny_spec())


def test_a_backbone_of_another_size_is_refused(tmp_path):
    path = write(tmp_path / "mae.pth", foreign.pre_trained(random_model(tiny_spec())), "model")
    spec = tiny_spec()
    for backbone in (replace(spec.backbone, width=96), replace(spec.backbone, depth=3)):
        with pytest.raises(WeightsError, match="do not fit the model"):
            load_model(path, spec=replace(spec, backbone=backbone))


def test_another_stem_is_told_by_its_name(tmp_path):
    """Else a list of fifty tensors would be all there is to read."""
    spec = tiny_spec()
    other = replace(spec, backbone=replace(spec.backbone, stem="convolutions"))
    path = write(tmp_path / "mae.pth", foreign.pre_trained(random_model(spec)), "model")
    with pytest.raises(WeightsError, match=r"differ in their stems, .* set model\.backbone\.stem"):
        load_model(path, spec=other)
    for model, source in ((VitPose(other), VitPose(spec)), (VitPose(spec), VitPose(other))):
        with pytest.raises(WeightsError, match="differ in their stems"):
            initialize_from_pose(model, source, "a test")


def test_from_a_pose_model_with_another_head_and_size():
    source = random_model(tiny_spec())
    hens = HeadSpec(dataset="hens", skeleton="hen", keypoints=3)
    model = random_model(tiny_spec(hens, size=Size(96, 64)), seed=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    notes = initialize_from_pose(model, source, "a test")
    assert notes == ("resized position embeddings",)
    after, expected = model.state_dict(), source.resized(Size(96, 64)).state_dict()
    for name, value in after.items():
        assert torch.equal(value, before[name] if name.startswith("heads.") else expected[name]), name


def test_between_dense_models_and_experts():
    dense, plus = random_model(tiny_spec()), random_model(tiny_plus(), seed=4)
    target = VitPose(tiny_plus()).eval()
    assert initialize_from_pose(target, dense, "a") == ("copied the last rows of every fc2 to 6 experts",)
    target.heads["coco"].load_state_dict(dense.heads["coco"].state_dict())
    torch.testing.assert_close(heatmaps(target), heatmaps(dense), atol=1e-4, rtol=1e-4)
    assert initialize_from_pose(target, plus, "a") == ()
    target.heads.load_state_dict(plus.heads.state_dict())
    assert torch.equal(heatmaps(target, "ap10k"), heatmaps(plus, "ap10k"))
    small = VitPose(tiny_spec()).eval()
    assert initialize_from_pose(small, plus, "a") == ("kept the expert of coco",)
    small.heads["coco"].load_state_dict(plus.heads["coco"].state_dict())
    torch.testing.assert_close(heatmaps(small), heatmaps(plus, "coco"), atol=1e-4, rtol=1e-4)
    with pytest.raises(WeightsError, match="do not fit the model"):
        initialize_from_pose(VitPose(replace(tiny_spec(), backbone=replace(foreign.TINY, depth=1))), dense, "a")


def test_the_source_is_not_changed():
    source = random_model(tiny_spec(COCO))
    before = {name: value.clone() for name, value in source.state_dict().items()}
    model = VitPose(tiny_spec())
    initialize_from_pose(model, source, "a test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
