"""What files say about themselves is checked before anything is built: ordinary errors, at once, in little memory."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import foreign_layouts as foreign
import pytest
import torch
from foreign_layouts import COCO, random_model, tiny_spec, write
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vitpose.core.errors import WeightsError
from vitpose.core.skeleton import load_skeleton
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.detector import is_detector, load_detector, save_detector
from vitpose.weights.huggingface import save_huggingface
from vitpose.weights.load import load_model

DEEP = "[" * 100_000 + "]" * 100_000
COCO17 = load_skeleton("coco17")
SMALL = DetectorSpec(side=64, widths=(8, 8, 16, 16), depths=(0, 0, 1, 0), blocks=1, heads=2, neck=8)


@pytest.fixture(scope="module")
def header() -> dict[str, Any]:
    spec = tiny_spec()
    return {
        "schema": "vitpose-checkpoint",
        "version": 1,
        "spec": json.loads(json.dumps(spec.to_dict())),
        "skeletons": {"coco": COCO17.to_dict()},
        "metadata": {},
    }


def file_of(path: Path, text: str) -> Path:
    """A file of a kilobyte with that description."""
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, path, {"vitpose": text})
    return path


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("backbone", {"depth": 60_000}, "said to have 60000 blocks, and has only 2 tensors"),
        ("backbone", {"experts": 60_000, "expert_width": 8}, "said to have 2 blocks|120000 experts"),
        ("backbone", {"stem": "convolutions", "stem_depths": [1, 60_000, 2], "depth": 1}, "60003 units"),
        ("backbone", {"depth": 10**8}, "damaged.*depth of a backbone"),
        ("backbone", {"depth": 1.0}, "damaged.*depth of a backbone"),
        ("backbone", {"width": 192.0}, "damaged.*width of a backbone"),
        ("backbone", {"hidden": -4}, "damaged.*hidden of a backbone"),
        ("heads", {"keypoints": 17.0}, "damaged.*keypoints of a head"),
        ("heads", {"dataset": "a.b"}, "no skeleton of 17 keypoints for its head"),
        ("", {"name": None}, "damaged.*name of a model"),
        ("", {"input_size": [64.0, 48.0]}, "damaged.*height of the input size"),
    ],
)
def test_our_own_files(
    tmp_path: Path, header: dict[str, Any], part: str, values: dict[str, object], message: str
) -> None:
    plain = json.loads(json.dumps(header))
    plain["spec"]["backbone"]["depth"] = 2
    {"": plain["spec"], "backbone": plain["spec"]["backbone"], "heads": plain["spec"]["heads"][0]}[part].update(values)
    path = file_of(tmp_path / "own.safetensors", json.dumps(plain))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message):
            load_model(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header["skeletons"]["coco"].update(sigmas=dict.fromkeys(COCO17.keypoints, 10**400)),
        lambda header: header["skeletons"].update(coco=None),
        lambda header: header.update(skeletons=[]),
        lambda header: header.update(metadata=3),
    ],
)  # fmt: skip
def test_what_goes_with_the_spec(tmp_path: Path, header: dict[str, Any], edit: Any) -> None:
    plain = json.loads(json.dumps(header))
    edit(plain)
    with pytest.raises(WeightsError, match="damaged"):
        load_model(file_of(tmp_path / "own.safetensors", json.dumps(plain)))


def test_a_head_that_cannot_have_its_name_is_the_files_fault(tmp_path: Path) -> None:
    spec = tiny_spec()
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, random_model(spec), {"coco": COCO17})
    with safe_open(path, "pt") as file:
        text = file.metadata()["vitpose"]
    save_file(load_file(path), path, {"vitpose": text.replace('"dataset": "coco"', '"dataset": "keys"')
                                      .replace('"skeletons": {"coco"', '"skeletons": {"keys"')})  # fmt: skip
    with pytest.raises(WeightsError, match="no model that can be built: a head cannot be called 'keys'"):
        load_model(path)


def test_a_description_nested_without_end(tmp_path: Path) -> None:
    path = file_of(tmp_path / "own.safetensors", DEEP)
    with pytest.raises(WeightsError, match="damaged"):
        load_model(path)
    with pytest.raises(WeightsError, match="damaged"):
        load_detector(path)
    assert not is_detector(path)
    (tmp_path / "config.json").write_text(DEEP)
    (tmp_path / "model.safetensors.index.json").write_text(DEEP)
    with pytest.raises(WeightsError, match="not a list of safetensors files"):
        load_model(tmp_path)
    save_file({"backbone.embeddings.position_embeddings": torch.zeros(1, 13, 192),
               "backbone.embeddings.patch_embeddings.projection.weight": torch.zeros(192, 3, 16, 16)},
              tmp_path / "model.safetensors")  # fmt: skip
    with pytest.raises(WeightsError, match=r"cannot read .*config\.json"):
        load_model(tmp_path)


@pytest.mark.parametrize("number", ["999999999999", "999999", "9" * 5000])
def test_a_block_far_beyond_the_others_is_a_key_nobody_expects(tmp_path: Path, number: str) -> None:
    state = foreign.original(random_model(tiny_spec()))
    state[f"backbone.blocks.{number}.norm1.weight"] = torch.zeros(192)
    with pytest.raises(WeightsError, match=r"1 not expected: backbone\.blocks\.9999"):
        load_model(write(tmp_path / "a.pth", state))
    trained = foreign.pre_trained(random_model(tiny_spec()), side=4)
    trained[f"blocks.{number}.norm1.weight"] = torch.zeros(192)
    with pytest.raises(WeightsError, match=r"1 not expected: blocks\.9999"):
        load_model(write(tmp_path / "b.pth", trained), spec=tiny_spec())


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.update({"keypoint_head.deconv_layers.0.weight": torch.zeros(3)}), "not 4 dimensions"),
        (lambda state: state.pop("backbone.blocks.0.mlp.fc1.bias"), "1 missing"),
        (lambda state: state.update({"backbone.pos_embed": torch.zeros(1, 12 * 10**16, 0)}), "fit no known input size"),
        (
            lambda state: state.update({"backbone.blocks.0.mlp.experts.0.weight": torch.zeros(192, 768)}),
            "no model that can be built: experts 1 with expert_width 192",
        ),
    ],
)  # fmt: skip
def test_foreign_tensors_of_odd_shapes(tmp_path: Path, edit: Any, message: str) -> None:
    state = foreign.original(random_model(tiny_spec()))
    state["backbone.blocks.0.mlp.fc2.weight"] = torch.zeros(144, 768) if "expert_width" in message else state[
        "backbone.blocks.0.mlp.fc2.weight"
    ]  # fmt: skip
    edit(state)
    with pytest.raises(WeightsError, match=message):
        load_model(write(tmp_path / "a.pth", state))


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("backbone_config", {"num_hidden_layers": 10**8}, "depth of a backbone"),
        ("backbone_config", {"num_hidden_layers": 60_000}, "said to have 60000 blocks"),
        ("backbone_config", {"num_experts": 60_000, "part_features": 48}, "said to have 120000 experts"),
        ("backbone_config", {"num_attention_heads": 5}, "not a multiple of heads 5"),
        ("backbone_config", {"mlp_ratio": -1}, "hidden of a backbone"),
        ("backbone_config", {"mlp_ratio": 1e999}, "does not make sense"),
        ("backbone_config", {"layer_norm_eps": -1}, "norm_eps of a backbone"),
        ("backbone_config", {"image_size": [64.0, 48.0]}, "height of the input size"),
        ("vitpose", {"name": 3}, "name of a model"),
        ("vitpose", {"head": {"dataset": "a.b", "skeleton": "coco17", "keypoints": 17}}, "cannot be called 'a.b'"),
        ("vitpose", {"head": {"dataset": "coco", "skeleton": "coco17", "keypoints": 17.0}}, "keypoints of a head"),
        ("vitpose", {"skeleton": None}, "does not make sense"),
        ("", {"vitpose": None, "id2label": ["nose"] * 17}, "does not make sense|int"),
    ],
)
def test_configurations_of_transformers(tmp_path: Path, part: str, values: dict[str, object], message: str) -> None:
    save_huggingface(tmp_path, random_model(tiny_spec(COCO)), COCO17)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    (config[part] if part else config).update(values)
    path.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"blocks": 60_000}, "said to have 60000 blocks"),
        ({"depths": [0, 60_000, 0, 0]}, "said to have 60000 units"),
        ({"widths": [60_000, 60_000, 60_000, 60_000]}, "do not fit the model"),
        ({"blocks": 1.0}, "blocks of a detector"),
        ({"widths": [8.0, 8, 16, 16]}, "widths at stride 4"),
        ({"depths": [0, -1, 1, 0]}, "depths at stride 8"),
        ({"depths": 3}, "four depths"),
        ({"side": 64.0}, "side of a detector"),
        ({"side": 32 * 10**6}, "side of a detector"),
        ({"heads": 0}, "heads of a detector"),
        ({"name": None}, "name of a detector"),
    ],
)
def test_detectors(tmp_path: Path, values: dict[str, object], message: str) -> None:
    path = tmp_path / "detector.safetensors"
    save_detector(path, PersonNet(SMALL))
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["vitpose"])
    header["spec"].update(values)
    save_file(load_file(path), path, {"vitpose": json.dumps(header)})
    with pytest.raises(WeightsError, match=message):
        load_detector(path)


def test_sketching_a_network_loads_nothing_slow() -> None:
    """Sizes are checked on a sketch of the network; PyTorch would load hundreds of modules for some operations."""
    code = """
import sys, tempfile
from pathlib import Path
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.weights.detector import load_detector, save_detector
spec = DetectorSpec(side=64, widths=(8, 8, 16, 16), depths=(0, 0, 1, 0), blocks=1, heads=2, neck=8)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "detector.safetensors")
    save_detector(path, PersonNet(spec))
    before = set(sys.modules)
    load_detector(path)
    print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50
