"""Our own format: self-describing, exact, whole or not at all."""

import json
import subprocess
import sys
from dataclasses import replace

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import heatmaps, random_model, tiny_plus, tiny_spec
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vitpose.core.errors import UsageError, VitPoseError, WeightsError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.models.attention import alternate
from vitpose.weights import checkpoint
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model
from vitpose.weights.storage import to_half


def skeletons(spec):
    return {head.dataset: load_skeleton(head.skeleton) for head in spec.heads}


@pytest.fixture
def saved(tmp_path):
    model = random_model(tiny_spec())
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, skeletons(model.spec), {"epoch": 3, "note": "ä"})
    return model, path


@pytest.mark.parametrize("spec", [tiny_spec(), tiny_spec(foreign.SIMPLE), tiny_plus()], ids=["c", "s", "plus"])
def test_what_is_saved_comes_back_exactly(tmp_path, spec):
    model = random_model(spec)
    save_checkpoint(tmp_path / "a.safetensors", model, skeletons(spec), {"epoch": 3})
    loaded = load_model(tmp_path / "a.safetensors")
    assert loaded.model.spec == spec
    assert loaded.skeletons == skeletons(spec)
    assert loaded.metadata == {"epoch": 3}
    assert loaded.assumptions == loaded.ignored == ()
    assert loaded.name == "tiny"
    found = loaded.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(found[name], value), name


def test_specs_no_foreign_layout_can_hold(tmp_path):
    backbone = replace(
        foreign.TINY, stride=8, attention=alternate("shifted+pooled", Size(4, 4), 2), hidden=300, drop_path=0.2
    )
    head = foreign.HeadSpec(dataset="hens", skeleton="hen", keypoints=2, codec="msra", square_box=True, deconv_width=24)
    spec = foreign.ModelSpec(name="hens", backbone=backbone, heads=(head,), input_size=Size(96, 80))
    model = random_model(spec)
    hen = Skeleton("hen", ("beak", "tail"), edges=(("beak", "tail"),), sigmas=(0.1, 0.2), source="a farm")
    save_checkpoint(tmp_path / "a.safetensors", model, {"hens": hen})
    loaded = load_model(tmp_path / "a.safetensors")
    assert loaded.model.spec == spec
    assert loaded.skeletons == {"hens": hen}
    assert torch.equal(heatmaps(loaded.model), heatmaps(model))


def test_equal_models_make_equal_files(tmp_path, saved):
    model, path = saved
    save_checkpoint(tmp_path / "b.safetensors", model, skeletons(model.spec), {"note": "ä", "epoch": 3})
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


def test_half_is_half_the_size_and_stable(tmp_path, saved):
    model, path = saved
    half = tmp_path / "half.safetensors"
    save_checkpoint(half, model, skeletons(model.spec), half=True)
    assert half.stat().st_size < 0.52 * path.stat().st_size
    loaded = load_model(half)
    for name, value in model.state_dict().items():
        found = loaded.model.state_dict()[name]
        rounded = value.is_floating_point() and "running_" not in name
        assert torch.equal(found, value.half().float() if rounded else value), name
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, loaded.model, loaded.skeletons, half=True)
    assert again.read_bytes() == half.read_bytes()


def test_half_leaves_the_statistics_of_batch_norms_alone():
    given = {"norm.running_var": torch.tensor([3e5, 1e-9]), "norm.weight": torch.tensor([1 / 3]), "n": torch.tensor(7)}
    found = to_half(given, "a test")
    assert torch.equal(found["norm.running_var"], given["norm.running_var"])
    assert (found["norm.weight"].dtype, found["n"].dtype) == (torch.float16, torch.int64)


def test_half_refuses_what_it_cannot_hold(tmp_path):
    model = random_model(tiny_spec())
    with torch.no_grad():
        model.heads["coco"].bn1.weight[0] = 1e6
    with pytest.raises(WeightsError, match=r"bn1\.weight.*float16"):
        save_checkpoint(tmp_path / "a.safetensors", model, skeletons(model.spec), half=True)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_save_leaves_the_old_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def dies(state, target, metadata):
        target.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, model, skeletons(model.spec))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_saved(tmp_path):
    model = random_model(tiny_spec())
    path = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match="needs a skeleton of 17 keypoints, not none"):
        save_checkpoint(path, model, {})
    with pytest.raises(UsageError, match="does not go into JSON"):
        save_checkpoint(path, model, skeletons(model.spec), {"a": object()})
    with pytest.raises(UsageError, match="does not go into JSON"):
        save_checkpoint(path, model, skeletons(model.spec), {"a": float("nan")})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VitPoseError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "a.safetensors", model, skeletons(model.spec))
    with torch.no_grad():
        model.backbone.norm.weight[0] = float("nan")
    with pytest.raises(WeightsError, match=r"NaN or infinite values: backbone\.norm\.weight"):
        save_checkpoint(path, model, skeletons(model.spec))
    assert not path.exists()


def rewrite(path, change_header=None, change_state=None):
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["vitpose"])
    state = load_file(path)
    if change_header:
        change_header(header)
    if change_state:
        change_state(state)
    save_file(state, path, {"vitpose": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(version=99), "schema version 99.*upgrade vitpose"),
        (lambda header: header.update(schema="other"), "schema 'other'"),
        (lambda header: header.pop("spec"), "description .* is damaged"),
        (lambda header: header["spec"]["backbone"].update(wings=2), "unknown field 'wings'"),
        (lambda header: header["skeletons"].clear(), "no skeleton of 17 keypoints"),
        (lambda header: header["skeletons"]["coco"]["keypoints"].pop(), "damaged"),
    ],
)
def test_damaged_descriptions(saved, change, message):
    rewrite(saved[1], change_header=change)
    with pytest.raises(WeightsError, match=message):
        load_model(saved[1])


def test_tensors_that_do_not_fit_the_description(saved):
    _, path = saved
    rewrite(path, change_state=lambda state: state.update(more=torch.zeros(1)))
    with pytest.raises(WeightsError, match="1 not expected: more"):
        load_model(path)
    rewrite(path, change_state=lambda state: (state.pop("more"), state.pop("backbone.norm.bias")))
    with pytest.raises(WeightsError, match=r"1 missing: backbone\.norm\.bias"):
        load_model(path)
    rewrite(path, change_state=lambda state: state.update({"backbone.norm.bias": torch.zeros(3)}))
    with pytest.raises(WeightsError, match=r"backbone\.norm\.bias \(3,\) instead of \(192,\)"):
        load_model(path)


def test_another_skeleton_of_the_same_length_can_be_given(saved):
    _, path = saved
    loaded = load_model(path, skeleton="ap10k17")
    assert loaded.skeletons["coco"].name == loaded.model.spec.heads[0].skeleton == "ap10k17"
    with pytest.raises(WeightsError, match="17 heatmaps, but skeleton 'mpii16' has 16"):
        load_model(path, skeleton="mpii16")


def test_loading_does_not_bring_the_compiler_in(saved):
    _, path = saved
    program = f"""
import sys
from vitpose.weights.load import load_model
load_model({str(path)!r})
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
