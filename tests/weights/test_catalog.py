"""The catalogue is complete, agrees with the family's own tables, and its reader forgives nothing."""

import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from vitpose.core.errors import InputError, UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.models.variants import PLUS_HEADS, published_spec
from vitpose.weights.catalog import CheckpointRow, find_model, is_on_disk, list_models, weights_cache
from vitpose.weights.catalog_file import read_catalog

ROWS = list_models()
IDS = [row.id for row in ROWS]
TEXT = resources.files("vitpose").joinpath("weights", "catalog.toml").read_text(encoding="utf-8")


@pytest.fixture
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    return tmp_path


# --- what is in it


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_heads_are_what_skeletons_and_specs_say(row):
    for head in row.heads:
        assert len(load_skeleton(head.skeleton)) == head.keypoints
    if row.heads:
        assert row.spec is not None
        assert row.spec.name == row.id
        assert row.spec.backbone == published_spec(row.architecture).backbone
    else:
        assert row.spec is None
        assert row.format == "mae"


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_rows_are_complete(row):
    assert row.code_license == "Apache-2.0"
    assert row.weights_license
    assert row.trained_on
    assert row.scores or row.note or row.format == "mae"
    assert row.where.startswith(("https://", "download by hand from https://", "comes with this package"))
    assert json.loads(json.dumps(row.to_dict()))["id"] == row.id


def test_codecs_follow_the_training():
    unbiased = {"coco", "mpii", "humanart", "coco_25", "synthpose", "lspet"}
    for row in ROWS:
        for head in row.heads:
            assert head.codec == ("udp" if head.dataset in unbiased else "msra"), row.id
            assert head.square_box == (head.dataset == "mpii"), row.id


def test_plus_files_have_the_papers_heads_in_the_order_of_their_experts():
    for letter in "sblh":
        row = find_model(f"vitpose-plus-{letter}")
        assert row.heads == PLUS_HEADS
        assert row.spec is not None
        assert row.spec.backbone.experts == 6


def test_hashes_are_those_in_the_file_names():
    rows = [row for row in ROWS if row.format == "mmpose1"]
    assert len(rows) == 13
    for row in rows:
        assert len(row.sha256) == 8
        assert f"-{row.sha256}_20230" in row.url


def test_every_published_group_is_there():
    by_repo = [row.repo for row in ROWS]
    assert sum(repo.startswith("usyd-community/") for repo in by_repo) == 7
    assert by_repo.count("nielsr/vitpose-original-checkpoints") == 7
    assert by_repo.count("JunkyByte/easy_ViTPose") == 28
    assert sum(repo.startswith("stanfordmimi/synthpose-vitpose-") for repo in by_repo) == 2
    assert sum(row.format == "mae" for row in ROWS) == 4
    assert sum(row.source == "manual" for row in ROWS) == 20
    easy = {row.file for row in ROWS if row.format == "easy"}
    assert easy == {
        f"torch/{data}/vitpose-{size}-{data}.pth"
        for data in ("coco", "coco_25", "wholebody", "mpii", "aic", "ap10k", "apt36k")
        for size in "sblh"
    }


def test_the_published_scores_of_the_family():
    expected = {
        "original-vitpose-s": (73.8, 79.2), "original-vitpose-b": (75.8, 81.1), "original-vitpose-l": (78.3, 83.5),
        "original-vitpose-h": (79.1, 84.1), "original-vitpose-b-simple": (75.5, 80.9),
        "original-vitpose-l-simple": (78.2, 83.4), "original-vitpose-h-simple": (78.9, 84.0),
    }  # fmt: skip
    for name, (precision, recall) in expected.items():
        assert [score.value for score in find_model(name).scores] == [precision, recall]
    animals = [find_model(f"vitpose-{letter}-ap10k").scores[0].value for letter in "sblh"]
    assert animals == [71.4, 74.5, 80.4, 82.4]


def test_licences_are_told_apart():
    assert [terms.key for terms in find_model("vitpose-b").restrictions] == ["mae"]
    assert find_model("wholebody").weights_license != "Apache-2.0"
    assert {"mae", "wholebody"} <= {terms.key for terms in find_model("wholebody").restrictions}
    assert find_model("mae-b").weights_license == "CC-BY-NC 4.0"


def test_nothing_without_a_source_has_a_hash_or_address():
    for row in ROWS:
        if row.source == "manual":
            assert (row.sha256, row.url, row.file) == ("", "", "")


# --- finding


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("vitpose-b", "vitpose-base"), ("human", "vitpose-plus-base"), ("balanced", "vitpose-plus-base"),
        ("lightweight", "vitpose-plus-small"), ("performance", "vitpose-plus-huge"), ("animal", "vitpose-b-ap10k"),
        ("wholebody", "vitpose-b-wholebody"), ("VitPose-Base", "vitpose-base"),
        ("vitpose-h", "mmpose-vitpose-h-official"),
        ("usyd-community/vitpose-plus-huge", "vitpose-plus-huge"),
        ("JunkyByte/easy_ViTPose/torch/coco_25/vitpose-s-coco_25.pth", "vitpose-s-coco25"),
    ],
)  # fmt: skip
def test_every_kind_of_name_finds(name, found):
    assert find_model(name).id == found


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_every_id_finds_its_own_row(row):
    assert find_model(row.id) is row
    assert all(find_model(alias) is row for alias in row.aliases)


def test_every_published_size_with_weights_has_its_own_name():
    for letter in "sblh":
        for name in (f"vitpose-{letter}", f"vitpose-{letter}-simple", f"vitpose-plus-{letter}"):
            assert find_model(name).architecture == name


def test_unknown_names():
    with pytest.raises(UsageError, match="no checkpoint is called 'vitpose-hug'; did you mean 'vitpose-h"):
        find_model("vitpose-hug")
    with pytest.raises(UsageError, match="`vitpose models` lists them all"):
        find_model("qqqq")
    with pytest.raises(UsageError, match="holds 28 checkpoints of the catalogue; name one: vitpose-s-coco"):
        find_model("JunkyByte/easy_ViTPose")


# --- on disk


def fetched():
    """Return the ids on this disk that did not come with the package."""
    return [row.id for row in ROWS if is_on_disk(row) and not row.packaged]


def test_nothing_is_on_an_empty_disk(caches):
    assert fetched() == []


@pytest.mark.parametrize("name", ["mmpose-vitpose-b", "original-vitpose-l", "vitpose-base"])
def test_our_own_cache_is_looked_into(caches, name):
    row = find_model(name)
    path = weights_cache() / row.local_name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert is_on_disk(row) == path
    assert fetched() == [name]


def test_the_hubs_cache_is_looked_into(caches):
    row = find_model("vitpose-b-wholebody")
    home = caches / "hf" / "hub" / "models--JunkyByte--easy_ViTPose"
    path = home / "snapshots" / "abc" / row.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    assert is_on_disk(row) == path
    assert is_on_disk(find_model("vitpose-s-wholebody")) is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HUGGINGFACE_HUB_CACHE", "{}"), ("HF_HUB_CACHE", "$PLACE"), ("HF_HOME", "{}/.."), ("XDG_CACHE_HOME", "{}/../..")],
)
def test_the_hubs_cache_is_where_the_hubs_client_has_it(tmp_path, variable, value):
    hub = tmp_path / "huggingface" / "hub"
    code = (
        "from huggingface_hub import constants; from vitpose.weights.catalog import hub_file_on_disk;"
        "from pathlib import Path; folder = Path(constants.HF_HUB_CACHE) / 'models--a--b' / 'snapshots' / 'main';"
        "folder.mkdir(parents=True); (folder / 'c.bin').touch(); print(hub_file_on_disk('a/b', 'c.bin'))"
    )
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_", "XDG_"))}
    environment = kept | {variable: value.format(hub), "PLACE": str(hub)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert Path(result.stdout.strip()).resolve() == hub / "models--a--b" / "snapshots" / "main" / "c.bin"


def test_where_the_caches_are(monkeypatch, tmp_path):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path / "home"))
    assert weights_cache() == tmp_path / "home" / "weights"
    monkeypatch.delenv("VITPOSE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_cache() == tmp_path / "cache" / "vitpose" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights_cache().parts[-3:] == (".cache", "vitpose", "weights")


def test_files_in_our_cache_never_share_a_name():
    names = [row.local_name for row in ROWS]
    assert len(set(names)) == len(names)


def test_listing_loads_neither_torch_nor_the_hub_client():
    code = (
        "import sys; from vitpose.weights.catalog import list_models; assert list_models();"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub', 'pydantic') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- reading


def fault(old, new):
    assert old in TEXT
    broken = TEXT.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        read_catalog(broken, "catalog.toml")
    return str(caught.value), broken


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('file = "model.safetensors"', 'files = "model.safetensors"', "unknown key 'files'; did you mean 'file'?"),
        ('title = "ViTPose-B"\n', "", "checkpoint 'vitpose-base' lacks 'title'"),
        ('spec = "vitpose-b"', 'spec = "vitpose-c"', "spec of checkpoint 'vitpose-base': unknown model 'vitpose-c'"),
        ('heads = ["coco"]', 'heads = ["cocoa"]', "names 'cocoa', which is not in this file; did you mean 'coco'?"),
        ('trained_on = ["mae", "coco"]', 'trained_on = ["mea"]', "names 'mea', which is not in this file"),
        ('format = "hf"', 'format = "tf"', "format of checkpoint 'vitpose-base' must be one of hf, mmpose0"),
        (
            'repo = "usyd-community/vitpose-base"\n',
            "",
            "needs exactly one of repo, url, page and packaged, and has none",
        ),
        ('file = "model.safetensors"\n', "", "needs repo and file together"),
        ("size_mb = 360", 'size_mb = "360"', "size_mb of checkpoint 'vitpose-base' is of the wrong kind"),
        ('aliases = ["vitpose-b"]', 'aliases = ["mae-s"]', "'mae-s' is the name of both 'vitpose-base' and 'mae-s'"),
        ('sha256 = "2e849e1f', 'sha256 = "2E849E1F', "must be up to 64 hex digits"),
        ("value = 75.8", "value = 758", "score 758 of checkpoint 'vitpose-base' is not a percentage"),
        ('{ on = "coco", metric', '{ on = "cocoo", metric', "names 'cocoo', which is not in this file"),
        ('{ on = "coco", metric = "AP", ', '{ on = "coco", ', "must hold on, metric, value and source"),
        ("[protocols]", "[protocol]", "unknown table 'protocol'; did you mean 'protocols'?"),
        ('commercial = "no"', 'commercial = "maybe"', "commercial of 'mae' must be one of yes, no, unclear"),
        ('codec = "udp" }', 'codecs = "udp" }', "head 'coco' has an unknown key 'codecs'; did you mean 'codec'?"),
        ('title = "COCO 2017 keypoints"\n', "", "terms 'coco' lacks 'title'"),
    ],
)
def test_faults_are_named_with_their_line(old, new, words):
    message, broken = fault(old, new)
    assert words in message
    line = int(message.split("line ")[1].split(":")[0])
    stands = broken.splitlines()[line - 1]
    assert new.strip() in stands or stands.startswith("[")


def test_a_missing_table_and_wrong_toml():
    with pytest.raises(InputError, match="table 'heads' is missing"):
        read_catalog("checkpoint = []", "catalog.toml")
    with pytest.raises(InputError, match="not valid TOML"):
        read_catalog("checkpoint = [", "catalog.toml")


def test_rows_are_frozen():
    with pytest.raises(AttributeError):
        find_model("vitpose-b").id = "other"
    assert all(isinstance(row, CheckpointRow) for row in ROWS)
