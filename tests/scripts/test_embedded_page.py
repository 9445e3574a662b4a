"""The page about the embedded pair, and the way of a measured pair into the package."""

import copy
import json
import tomllib

import pytest
from scripts.embedded import page, ship
from scripts.embedded.history import plain_command, stages_of

from vitpose.core.errors import InputError, UsageError
from vitpose.weights.catalog import find_model, packaged_file
from vitpose.weights.catalog_file import read_catalog
from vitpose.weights.detector import PACKAGED
from vitpose.weights.formats import file_sha256

NUMBERS = {
    "coco_ap": 0.41, "coco_ap_low": 0.37, "coco_ap_high": 0.44, "coco_ap_plain": 0.39, "lsp_pck": None,
    "recall_tall": 0.8, "detected_ap": 0.25, "detected_ap_refined": 0.26, "calibration_error": 0.02,
    "seconds_a_picture": 0.2,
}  # fmt: skip


@pytest.fixture
def report(tmp_path):
    """A folder as stage 6 leaves it, with files of a few bytes."""
    folder = tmp_path / "report"
    folder.mkdir()
    files = {}
    for name in (find_model("embedded").packaged, PACKAGED):
        (folder / name).write_bytes(name.encode())
        files[name] = {"bytes": len(name), "sha256": file_sha256(folder / name)}
    (folder / "skeletons.png").write_bytes(b"png")
    results = {
        "command": "x", "commit": "abc", "machine": "x", "chosen": "ours", "refine": True, "files": files, "fits": True,
        "results": {"ours": NUMBERS},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def root(tmp_path):
    """A repository with the catalogue and nothing else."""
    for path in (ship.CATALOG, ship.RESULTS, ship.PAGE):
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
    text = (ship.ROOT / ship.CATALOG).read_text(encoding="utf-8")
    (tmp_path / "root" / ship.CATALOG).write_text(text, encoding="utf-8")
    return tmp_path / "root"


def test_the_page_is_what_the_results_say():
    results = ship.ROOT / ship.RESULTS
    known = json.loads(results.read_text()) if results.exists() else None
    assert (ship.ROOT / ship.PAGE).read_text() == page.embedded_page(known)
    carried = [packaged_file(name) for name in (find_model("embedded").packaged, PACKAGED)]
    assert all(carried) == (known is not None)
    for path in filter(None, carried):
        assert file_sha256(path) == known["files"][path.name]["sha256"]


def test_a_measured_pair_goes_into_the_package_as_it_was_measured(report, root):
    for _ in range(2):  # shipping again changes nothing
        ship.ship(report, root)
        row = next(row for row in read_catalog((root / ship.CATALOG).read_text(), "here") if row.packaged)
        model = root / ship.WEIGHTS / row.packaged
        assert (row.sha256, row.size_mb) == (file_sha256(model), 0.0)
        assert (root / ship.WEIGHTS / PACKAGED).read_bytes() == (report / PACKAGED).read_bytes()
        text = (root / ship.PAGE).read_text()
        assert text == page.embedded_page(json.loads((root / ship.RESULTS).read_text()))
    before = tomllib.loads((ship.ROOT / ship.CATALOG).read_text())
    after = tomllib.loads((root / ship.CATALOG).read_text())
    assert len(before["checkpoint"]) == len(after["checkpoint"])
    for part in ("0.410", "floor reached", "aim reached", "not measured", "research use", row.sha256[:12]):
        assert part in text
    assert "nan" not in text + page.model_card(json.loads((report / "results.json").read_text()))


def test_what_was_not_measured_or_does_not_fit_is_refused(report, root):
    known = json.loads((report / "results.json").read_text())
    too_large = copy.deepcopy(known) | {"fits": False}
    (report / "results.json").write_text(json.dumps(too_large))
    with pytest.raises(UsageError, match="too large"):
        ship.ship(report, root)
    (report / "results.json").write_text(json.dumps(known))
    (report / PACKAGED).write_bytes(b"another")
    with pytest.raises(InputError, match="not the file that was measured"):
        ship.ship(report, root)
    with pytest.raises(InputError, match="no results"):
        ship.ship(root, root)
    with pytest.raises(InputError, match="no row"):
        ship.described("", "00", 1)
    assert not (root / ship.PAGE).exists()


def a_run(folder, name, start="", *, steps=40):
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'name = "{name}"\n[model]\nstart = {json.dumps(str(start))}\n[loop]\nbatch_size = 10\n'
    )
    lines = [{"step": step, "people_per_s": 5.0, "epoch": step / 20, "loss": 1.0} for step in (20, steps)]
    lines.insert(1, {"step": 20, "validation/ap": 0.1, "validation/score": 0.1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    versions = {
        "note": f"{name} was something else then.",
        "device": "a machine",
        "command": f"/home/me/scripts/embedded/small_machine.py --data /secret --out {folder}",
    }
    (folder / "versions.json").write_text(json.dumps(versions))
    return folder / "last.safetensors"


def test_the_history_of_weights_is_read_from_their_run_folders(tmp_path):
    first = a_run(tmp_path / "one", "places")
    stages = stages_of(a_run(tmp_path / "two", "heatmaps", first, steps=60))
    assert [one["name"] for one in stages] == ["places", "heatmaps"]
    assert [one["minutes"] for one in stages] == [pytest.approx(40 * 10 / 5 / 60, abs=0.06), 2.0]
    assert stages[0]["curve"] == [{"epoch": 1, "ap": 0.1}]
    assert stages[0]["command"] == "python -m scripts.embedded.small_machine --data DATA --out OUT"
    assert stages_of(tmp_path / "elsewhere.safetensors") == []
    text = page.model_card(
        {
            "commit": "x",
            "machine": "x",
            "chosen": "ours",
            "refine": False,
            "results": {"ours": NUMBERS},
            "stages": stages,
        }
    )
    assert "| heatmaps | a machine | 3 | 60 x 10 | 2 |" in text
    assert "places: places was something else then." in text
    assert "secret" not in text
    assert plain_command("/x/bin/vitpose train a --set b=1") == "vitpose train a --set b=1"
    assert (
        plain_command("/x/vitpose train a --set model.start=/y/z b=1") == "vitpose train a --set model.start=START b=1"
    )
