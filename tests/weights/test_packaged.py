"""Weights that come with the package: a row of the catalogue, the ordinary loader, the file's own description."""

from dataclasses import replace

import pytest

from vitpose.core.errors import InputError, WeightsError
from vitpose.core.skeleton import load_skeleton
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.weights import catalog, locate
from vitpose.weights.catalog import is_on_disk, list_models
from vitpose.weights.catalog_file import read_catalog
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model

HEADS = (
    HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, kind="simple"),
    HeadSpec(dataset="lspet", skeleton="body14", keypoints=14, kind="simple"),
)


@pytest.fixture
def row():
    like = list_models()[0]
    return replace(
        like, id="ours", heads=HEADS, aliases=("embedded",), repo="", file="", packaged="a.safetensors", sha256=""
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_packaged_folder", lambda: tmp_path)
    return tmp_path


def test_a_packaged_row_loads_through_the_ordinary_path(row, folder, monkeypatch):
    monkeypatch.setattr(locate, "find_model", lambda _name: row)
    assert (row.source, row.where) == ("package", "comes with this package")
    assert is_on_disk(row) is None
    with pytest.raises(WeightsError, match=r"carries no a\.safetensors"):
        load_model("embedded")
    spec = ModelSpec(name="ours", backbone=BackboneSpec(width=32, depth=1, heads=2), heads=HEADS, input_size=(64, 48))
    skeletons = {head.dataset: load_skeleton(head.skeleton) for head in HEADS}
    save_checkpoint(folder / "a.safetensors", create_model(spec, seed=0), skeletons, half=True)
    loaded = load_model("embedded")
    assert is_on_disk(row) == folder / "a.safetensors"
    assert [head.dataset for head in loaded.model.spec.heads] == ["coco", "lspet"]
    assert not loaded.assumptions
    monkeypatch.setattr(locate, "find_model", lambda _name: replace(row, sha256="0" * 64))
    with pytest.raises(WeightsError):
        load_model("embedded")
    assert (folder / "a.safetensors").is_file()


def test_a_row_has_one_place_to_come_from():
    text = """
[heads]
[terms]
[protocols]
[sources]
[[checkpoint]]
id = "a"
title = "a"
spec = "vitpose-ti"
heads = []
format = "vitpose"
code_license = "Apache-2.0"
weights_license = "none"
trained_on = []
packaged = "a.safetensors"
"""
    assert read_catalog(text, "here")[0].packaged == "a.safetensors"
    with pytest.raises(InputError, match="exactly one of"):
        read_catalog(text + 'url = "https://example.org/a.pth"\n', "here")
