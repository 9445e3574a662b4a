"""Configurations of transformers: what they leave out, what they say of keypoints, and what does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import COCO, SIMPLE, heatmaps, random_model, tiny_plus, tiny_spec
from safetensors.torch import load_file, save_file

from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.moe import fold_expert
from vitpose.models.variants import PLUS_HEADS, Attention
from vitpose.weights.huggingface import save_huggingface
from vitpose.weights.load import load_model

COCO17 = load_skeleton("coco17")
SHORT = [name.replace("left_", "L_").replace("right_", "R_").title() for name in COCO17.keypoints]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny model as others would publish it: without our own entry."""
    save_huggingface(tmp_path / "tiny-model", random_model(tiny_spec()), COCO17)
    change(tmp_path / "tiny-model", lambda config: config.pop("vitpose"))
    return tmp_path / "tiny-model"


def change(folder: Path, edit) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def test_round_trip_keeps_spec_skeleton_and_heatmaps(tmp_path):
    for number, head in enumerate((COCO, SIMPLE, PLUS_HEADS[1], PLUS_HEADS[5])):
        experts = 6 if head.expert else 0
        model = random_model(tiny_spec(head, experts=experts))
        skeleton = load_skeleton(head.skeleton)
        save_huggingface(tmp_path / str(number), model, skeleton)
        loaded = load_model(tmp_path / str(number))
        assert loaded.model.spec == model.spec
        assert loaded.skeletons == {head.dataset: skeleton}
        assert loaded.assumptions == loaded.ignored == ()
        assert torch.equal(heatmaps(loaded.model), heatmaps(model))


def test_defaults_are_filled_in(folder):
    """Published configurations leave out what has its default; the defaults are those of vitpose-base-simple."""
    model = random_model(foreign.ModelSpec(
        name="b", backbone=foreign.BackboneSpec(width=768, depth=12, heads=12), heads=(SIMPLE,)
    ))  # fmt: skip
    target = folder.parent / "b"
    save_huggingface(target, model, COCO17)
    bare = {"model_type": "vitpose", "id2label": dict(enumerate(SHORT)), "backbone_config": {"out_indices": [12]}}
    (target / "config.json").write_text(json.dumps(bare))
    loaded = load_model(target)
    found = loaded.model.spec
    assert found.name == "vitpose-b-simple"
    assert found.heads == (SIMPLE,)
    assert found.input_size == (256, 192)
    backbone = found.backbone
    assert (backbone.width, backbone.depth, backbone.heads, backbone.experts) == (768, 12, 12, 0)
    assert backbone.norm_eps == 1e-12
    assert backbone.drop_path == 0.3
    assert loaded.assumptions == ()
    assert loaded.skeletons["coco"] == COCO17


@pytest.mark.parametrize("names", [SHORT, list(COCO17.keypoints), [name.upper() for name in COCO17.keypoints]])
def test_names_lead_to_the_skeleton(folder, names):
    change(folder, lambda config: config.update(id2label={str(i): name for i, name in enumerate(names)}))
    loaded = load_model(folder)
    assert loaded.skeletons == {"coco": COCO17}
    assert loaded.assumptions == ()


def test_names_of_another_order_make_another_skeleton(folder):
    names = [*SHORT[::-1]]
    edit = {"id2label": {str(i): name for i, name in enumerate(names)}, "edges": [[0, 2], [1, 3]]}
    change(folder, lambda config: config.update(edit))
    loaded = load_model(folder)
    skeleton = loaded.skeletons["tiny-model"]
    assert skeleton.keypoints == tuple(names)
    assert skeleton.edges == ((names[0], names[2]), (names[1], names[3]))
    assert ("L_Eye", "R_Eye") in skeleton.flip_pairs
    assert any("unbiased (UDP)" in words for words in loaded.assumptions)


def test_label_numbers_are_no_names(folder):
    change(folder, lambda config: config.update(id2label={str(i): f"LABEL_{i}" for i in range(17)}))
    loaded = load_model(folder)
    assert loaded.skeletons == {"coco": COCO17}
    assert any("K = 17" in words for words in loaded.assumptions)
    assert list(load_model(folder, dataset="ap10k").skeletons) == ["ap10k"]


def test_a_plus_file_has_six_experts_and_one_head(tmp_path):
    plus = random_model(tiny_plus())
    notes = save_huggingface(tmp_path / "plus", plus, COCO17, dataset="coco")
    assert any("no place for aic, mpii, ap10k, apt36k, wholebody" in note for note in notes)
    change(tmp_path / "plus", lambda config: config.pop("vitpose"))
    loaded = load_model(tmp_path / "plus")
    assert loaded.model.spec.backbone.experts == 6
    assert loaded.model.spec.heads == (COCO,)
    assert torch.equal(heatmaps(loaded.model), heatmaps(plus, "coco"))
    with pytest.raises(UsageError, match=r"all experts but only the COCO head"):
        load_model(tmp_path / "plus", dataset="ap10k")


def test_the_position_row_of_no_token_is_zero_and_folding_gives_a_dense_folder(tmp_path):
    plus = random_model(tiny_plus())
    save_huggingface(tmp_path, fold_expert(plus, "aic"), load_skeleton("aic14"))
    state = load_file(tmp_path / "model.safetensors")
    positions = state["backbone.embeddings.position_embeddings"]
    assert positions.shape == (1, 13, 192)
    assert not positions[:, 0].any()
    assert not any("experts" in name for name in state)
    torch.testing.assert_close(heatmaps(load_model(tmp_path).model), heatmaps(plus, "aic"), atol=1e-4, rtol=1e-4)


def test_half_precision(tmp_path):
    model = random_model(tiny_spec())
    save_huggingface(tmp_path, model, COCO17, half=True)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    found = load_model(tmp_path).model.state_dict()["backbone.blocks.0.qkv.weight"]
    assert torch.equal(found, model.state_dict()["backbone.blocks.0.qkv.weight"].half().float())


def test_shards_and_old_pickles_are_read(folder):
    expected = heatmaps(load_model(folder).model)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert torch.equal(heatmaps(load_model(folder).model), expected)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, members in parts.items():
        save_file({name: state[name] for name in members}, folder / file)
    index = {"weight_map": {name: file for file, members in parts.items() for name in members}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded = load_model(folder)
    assert torch.equal(heatmaps(loaded.model), expected)
    assert len(loaded.sha256) == 64
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors"):
        load_model(folder)


def test_a_single_file_without_its_configuration_is_read_by_its_shapes(folder):
    path = folder / "model.safetensors"
    expected = heatmaps(load_model(folder).model)
    (folder / "config.json").unlink()
    loaded = load_model(path)
    torch.testing.assert_close(heatmaps(loaded.model), expected, atol=1e-5, rtol=1e-5)
    assert any("COCO order" in words for words in loaded.assumptions)
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        load_model(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda config: config.update(model_type="vit"), "configuration of a 'vit' model"),
        (lambda config: config.update(scale_factor=8), "enlarges features 8 times"),
        (lambda config: config["backbone_config"].update(hidden_act="relu"), "hidden_act = 'relu'"),
        (lambda config: config["backbone_config"].update(qkv_bias=False), "qkv_bias = False"),
        (lambda config: config["backbone_config"].update(patch_size=14), "patch_size = 14"),
        (lambda config: config["backbone_config"].update(hidden_size="wide"), "does not make sense"),
        (lambda config: config["backbone_config"].update(num_hidden_layers=3), "missing: backbone.encoder.layer.2"),
        (
            lambda config: config["backbone_config"].update(num_hidden_layers=1),
            "not expected: backbone.encoder.layer.1",
        ),
        (lambda config: config["backbone_config"].update(image_size=[256, 192]), r"\(1, 13, 192\) instead of \(1, 193"),
        (lambda config: config.update(use_simple_decoder=True), "not expected: head.batchnorm1"),
        (lambda config: config["id2label"].pop("3"), "names 16 keypoints in id2label, but has 17"),
        (lambda config: config.update(id2label={str(i): "nose" for i in range(17)}), "make no skeleton.*skeleton=FILE"),
    ],
)
def test_configurations_that_do_not_fit(folder, edit, message):
    change(folder, edit)
    with pytest.raises(WeightsError, match=message):
        load_model(folder)


def test_damaged_folders(folder):
    (folder / "config.json").write_text('{"model_type": ')
    with pytest.raises(WeightsError, match="cannot read"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        load_model(folder)


def test_models_that_do_not_fit_the_layout(tmp_path):
    backbone = replace(foreign.TINY, attention=(Attention(kind="window", window=Size(2, 2)),), stride=8, hidden=300)
    head = replace(COCO, deconv_width=64, maps="places")
    model = random_model(foreign.ModelSpec(name="odd", backbone=backbone, heads=(head,), input_size=foreign.SIZE))
    with pytest.raises(WeightsError, match=r"windowed attention, stride 8, .* of 300, maps of places, deconv"):
        save_huggingface(tmp_path / "out", model, COCO17)
    convolutions = replace(foreign.TINY, stem="convolutions")
    model = random_model(foreign.ModelSpec(name="odd", backbone=convolutions, heads=(COCO,), input_size=foreign.SIZE))
    with pytest.raises(WeightsError, match=r"it has a stem of convolutions$"):
        save_huggingface(tmp_path / "out", model, COCO17)
    with pytest.raises(WeightsError, match="skeleton 'one' has 1 keypoints, the head for coco 17"):
        save_huggingface(tmp_path / "out", random_model(tiny_spec()), Skeleton("one", ("a",)))
    assert not (tmp_path / "out").exists()
