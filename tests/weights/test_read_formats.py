"""Files that are not what they should be are refused in one sentence, and nothing in them is ever run."""

import argparse
import json
import pickle
import shutil
import struct
from pathlib import Path

import foreign_layouts as foreign
import numpy as np
import pytest
import torch
from foreign_layouts import heatmaps, random_model, tiny_spec, write
from safetensors.torch import load_file, save_file

from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.skeleton import Skeleton
from vitpose.weights.formats import file_sha256
from vitpose.weights.load import load_model


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    state = foreign.original(random_model(tiny_spec()))
    return write(tmp_path_factory.mktemp("good") / "good.pth", state)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, good):
    state = torch.load(good, weights_only=True)["state_dict"]
    mark = tmp_path / "ran"
    zipped, bare = tmp_path / "zipped.pth", tmp_path / "bare.pth"
    torch.save({"state_dict": state, "meta": Hostile(mark)}, zipped)
    bare.write_bytes(pickle.dumps(Hostile(mark)))
    for path in (zipped, bare):
        with pytest.raises(WeightsError, match=r"was refused: it is a pickle.*could run code.*safetensors") as caught:
            load_model(path)
        assert caught.value.exit_code == 5
    assert not mark.exists()
    pickle.loads(bare.read_bytes())
    assert mark.exists(), "the file was not hostile, so the test above shows nothing"


def test_options_and_numpy_scores_beside_the_weights_are_harmless(tmp_path, good):
    state = torch.load(good, weights_only=True)["state_dict"]
    path = tmp_path / "meta.pth"
    extra = {"args": argparse.Namespace(lr=1e-3), "best": np.float64(0.758), "meta": {"CLASSES": ("person",)}}
    torch.save({"state_dict": state, **extra}, path)
    assert torch.equal(heatmaps(load_model(path).model), heatmaps(load_model(good).model))


def test_a_legacy_zipless_file_is_read(tmp_path, good):
    content = torch.load(good, weights_only=True)
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(heatmaps(load_model(tmp_path / "old.pth").model), heatmaps(load_model(good).model))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        (b"\n  <html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"just some text that is long enough", "neither safetensors nor a PyTorch checkpoint"),
        (struct.pack("<Q", 20) + b'{"a": 1', "damaged or cut short"),
        (b"PK\x03\x04 and then nothing", "damaged or cut short"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_not_weights(tmp_path, content, message, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_half_written_files(tmp_path, good, part, kind):
    path = tmp_path / "whole"
    if kind == "zip":
        shutil.copy(good, path)
    elif kind == "legacy":
        torch.save(torch.load(good, weights_only=True), path, _use_new_zipfile_serialization=False)
    else:
        save_file(torch.load(good, weights_only=True)["state_dict"], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        load_model(path)


def test_missing_files_and_unknown_names():
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_model("nowhere/model.pth")
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_model(Path("nowhere"))
    with pytest.raises(UsageError, match="did you mean 'vitpose-b'"):
        load_model("vitpose-bb")


def test_other_architectures_are_named_by_their_tensors(tmp_path):
    path = tmp_path / "resnet.safetensors"
    save_file({"conv1.weight": torch.zeros(3), "layer1.0.conv1.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"not a ViTPose model.*conv1\.weight, layer1\.0\.conv1\.weight"):
        load_model(path)
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"model.layers.0.mlp.weight": torch.zeros(3)}, tmp_path / "llm" / "model.safetensors")
    with pytest.raises(WeightsError, match="not a ViTPose model"):
        load_model(tmp_path / "llm")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        load_model(tmp_path / "list.pth")


def changed(good: Path, tmp_path: Path, change) -> Path:
    state = torch.load(good, weights_only=True)["state_dict"]
    change(state)
    return write(tmp_path / "changed.pth", state)


def test_missing_tensors_are_listed(tmp_path, good):
    path = changed(good, tmp_path, lambda state: state.pop("backbone.blocks.1.mlp.fc1.bias"))
    with pytest.raises(WeightsError, match=r"1 missing: backbone\.blocks\.1\.mlp\.fc1\.bias"):
        load_model(path)
    path = changed(good, tmp_path, lambda state: [state.pop(n) for n in list(state) if ".blocks.0.norm" in n])
    with pytest.raises(WeightsError, match=r"4 missing"):
        load_model(path)


def test_tensors_nobody_expects_are_listed_ten_at_most(tmp_path, good):
    extra = {f"backbone.adapter.{number}": torch.zeros(1) for number in range(14)}
    with pytest.raises(WeightsError, match=r"14 not expected: .*adapter\.9, \.\.\. \(14 in all\)") as caught:
        load_model(changed(good, tmp_path, lambda state: state.update(extra)))
    assert "adapter.10" not in str(caught.value)


def test_wrong_shapes_are_listed_with_both(tmp_path, good):
    def shrink(state):
        state["backbone.blocks.1.attn.qkv.weight"] = torch.zeros(570, 192)
        state["keypoint_head.final_layer.bias"] = torch.zeros(16)

    with pytest.raises(WeightsError, match=r"qkv\.weight \(570, 192\) instead of \(576, 192\)") as caught:
        load_model(changed(good, tmp_path, shrink))
    assert "final_layer.bias (16,) instead of (17,)" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, good, value):
    def poison(state):
        state["backbone.blocks.1.mlp.fc2.weight"][3, 4] = value

    with pytest.raises(WeightsError, match=r"NaN or infinite values: backbone\.blocks\.1\.ffn\.fc2\.weight"):
        load_model(changed(good, tmp_path, poison))


def test_a_file_with_16_heatmaps_is_mpii_and_7_is_nobodys(tmp_path, good):
    def heads(count):
        def change(state):
            for kind in ("weight", "bias"):
                value = state[f"keypoint_head.final_layer.{kind}"]
                state[f"keypoint_head.final_layer.{kind}"] = value.repeat(2, *[1] * (value.ndim - 1))[:count]

        return changed(good, tmp_path, change)

    loaded = load_model(heads(16))
    assert loaded.model.spec.heads[0].square_box
    assert list(loaded.skeletons) == ["mpii"]
    path = heads(7)
    with pytest.raises(WeightsError, match=r"7 heatmaps.*skeleton=FILE\.toml"):
        load_model(path)
    own = Skeleton("hen", tuple("abcdefg"))
    loaded = load_model(path, skeleton=own)
    assert loaded.skeletons == {"hen": own}
    assert loaded.model.spec.head("hen").keypoints == 7
    assert any("unbiased (UDP)" in words for words in loaded.assumptions)
    toml = tmp_path / "hen.toml"
    toml.write_text('name = "hen"\nkeypoints = ["a", "b", "c", "d", "e", "f", "g"]\n')
    assert load_model(path, skeleton=toml, dataset="farm").skeletons["farm"].keypoints == own.keypoints
    with pytest.raises(WeightsError, match=r"7 heatmaps, but skeleton 'coco17' has 17"):
        load_model(path, skeleton="coco17")


def test_what_the_caller_says_counts_more_than_the_assumption(tmp_path, good):
    loaded = load_model(good, dataset="ap10k")
    assert (loaded.model.spec.heads[0].skeleton, loaded.model.spec.heads[0].codec) == ("ap10k17", "msra")
    assert not any("order" in words for words in loaded.assumptions)
    assert load_model(good, skeleton="ap10k17").model.spec.heads[0].codec == "msra"
    with pytest.raises(UsageError, match="unknown dataset 'ap10'; did you mean 'ap10k'"):
        load_model(good, dataset="ap10")
    with pytest.raises(WeightsError, match="17 heatmaps, but dataset 'mpii' has 16"):
        load_model(good, dataset="mpii")


def test_assumptions_are_logged_once(good, caplog):
    loaded = load_model(good)
    assert len(caplog.records) == 1
    assert all(words in caplog.text for words in loaded.assumptions)


def test_a_spec_settles_what_the_tensors_do_not_say(tmp_path):
    spec = foreign.ModelSpec(
        name="odd",
        backbone=foreign.BackboneSpec(width=96, depth=2, heads=4, hidden=100),
        heads=(foreign.COCO,),
        input_size=foreign.SIZE,
    )
    model = random_model(spec)
    path = write(tmp_path / "odd.pth", foreign.original(model))
    with pytest.raises(WeightsError, match=r"96 wide.*pass spec="):
        load_model(path)
    loaded = load_model(path, spec=spec)
    torch.testing.assert_close(heatmaps(loaded.model), heatmaps(model), atol=1e-5, rtol=1e-5)
    assert loaded.model.spec == spec


def test_the_hash_is_that_of_the_file_as_it_is_now(tmp_path, good):
    import hashlib

    assert load_model(good).sha256 == hashlib.sha256(good.read_bytes()).hexdigest()
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = file_sha256(path)
    path.write_bytes(b"another")
    assert file_sha256(path) == hashlib.sha256(b"another").hexdigest() != first


def test_half_precision_files_become_float32(tmp_path, good):
    state = torch.load(good, weights_only=True)["state_dict"]
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    loaded = load_model(tmp_path / "half.safetensors")
    found = loaded.model.state_dict()["backbone.blocks.0.ffn.fc1.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, load_file(tmp_path / "half.safetensors")["backbone.blocks.0.mlp.fc1.weight"].float())
