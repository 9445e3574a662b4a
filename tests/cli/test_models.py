"""``vitpose models``: a table for people, JSON for programs, one row in full."""

import json

import pytest
import typer
from typer.testing import CliRunner

from vitpose.cli.models import models
from vitpose.core.errors import UsageError
from vitpose.weights import catalog
from vitpose.weights.catalog import find_model, list_models, weights_cache

app = typer.Typer()
app.command()(models)


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def put(name):
    path = weights_cache() / find_model(name).local_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_the_table_has_one_line_a_checkpoint():
    result = run()
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0][:2] == ["id", "size"]
    assert [line[0] for line in lines[1:-1]] == [row.id for row in list_models()]
    line = next(line for line in lines if line[0] == "vitpose-base")
    assert line == ["vitpose-base", "B", "360", "MB", "coco", "17", "udp", "AP", "75.8", "coco", "Apache-2.0", "!"]


def test_json_is_the_whole_catalogue_and_nothing_else_is_on_stdout():
    result = run("--json")
    rows = json.loads(result.stdout)
    assert result.stderr == ""
    assert [row["id"] for row in rows] == [row.id for row in list_models()]
    assert {row["on_disk"] for row in rows if row["id"] != "vitpose-embedded"} == {None}
    base = next(row for row in rows if row["id"] == "vitpose-base")
    assert base["heads"][0]["skeleton"] == "coco17"
    assert base["restrictions"] == ["mae"]
    assert base["source"] == "hub"


def test_one_row_in_full_by_alias():
    text = run("animal").stdout
    for words in (
        "vitpose-b-ap10k", "ap10k: 17 keypoints, skeleton ap10k17, classic head, codec msra",
        "AP 74.5: AP-10K test", "CC-BY-NC 4.0", "torch/ap10k/vitpose-b-ap10k.pth",
    ):  # fmt: skip
        assert words in text


def test_one_row_as_json_is_a_list_of_one():
    (row,) = json.loads(run("human", "--json").stdout)
    assert row["id"] == "vitpose-plus-base"


def test_a_backbone_and_a_manual_download_say_so():
    assert "a backbone to start a training from" in run("mae-b").stdout
    assert "download by hand from https://github.com/ViTAE-Transformer/ViTPose" in run("original-vitpose-l").stdout


def test_on_disk_shows_only_what_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "_packaged_folder", lambda: tmp_path)  # as if nothing came with the package
    nothing = run("--on-disk")
    assert nothing.stdout == ""
    assert "none of them is on this disk" in nothing.stderr
    assert json.loads(run("--on-disk", "--json").stdout) == []
    path = put("mmpose-vitpose-s")
    (row,) = json.loads(run("--on-disk", "--json").stdout)
    assert (row["id"], row["on_disk"]) == ("mmpose-vitpose-s", str(path))
    line = next(line for line in run().stdout.splitlines() if line.startswith("mmpose-vitpose-s "))
    assert line.split()[-1] == "yes"
    assert str(path) in run("mmpose-vitpose-s").stdout.replace("\n", "").replace(" ", "")


def test_an_unknown_name_is_a_usage_error_with_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'vitpose-base'"):
        run("vitpose-bsae")
