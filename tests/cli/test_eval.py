"""``vitpose eval``: labels and a model in, numbers out, gates to exit codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from vitpose.cli.eval import _check_names, evaluate
from vitpose.core.errors import GateError, InputError, UsageError, VitPoseError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord

app = typer.Typer()
app.command()(evaluate)

MODEL = "random:vitpose-ti"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    names = list(load_skeleton("coco17").keypoints)
    images, annotations = [], []
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 160, "height": 120})
        points = np.concatenate([rng.uniform(20, 100, (17, 2)), np.full((17, 1), 2)], axis=1)
        annotations.append(
            {
                "id": number, "image_id": number, "category_id": 1, "bbox": [15, 15, 95, 95], "area": 4800,
                "iscrowd": 0, "num_keypoints": 17, "keypoints": points.ravel().tolist(),
            }
        )  # fmt: skip
    path = tmp_path / "labels.json"
    categories = [{"id": 1, "name": "person", "keypoints": names}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_everything_is_written_and_printed_as_json(labels: Path, tmp_path: Path) -> None:
    out, found, report = tmp_path / "out/numbers.json", tmp_path / "poses.json", tmp_path / "report"
    result = run(
        f"coco:{labels}", "--model", MODEL, "--no-flip-test", "--limit", 2, "--json", "--out", out,
        "--predictions", found, "--report", report, "--against", MODEL, "--fail-under", "ap=0",
    )  # fmt: skip
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document == json.loads(out.read_text()) == json.loads((report / "results.json").read_text())
    assert document["protocol"]["pictures"] == document["protocol"]["people"] == 2
    assert document["protocol"]["model"]["name"] == MODEL
    assert "without flip test" in document["protocol"]["text"]
    # The same weights twice: no difference at all.
    assert document["against"]["differences"]["ap"]["low"] == document["against"]["differences"]["ap"]["high"] == 0
    assert {entry["image_id"] for entry in json.loads(found.read_text())} == {0, 1}
    assert (report / "index.html").is_file()


def test_a_number_below_the_limit_is_a_gate_error(labels: Path) -> None:
    with pytest.raises(GateError, match=r"mean_oks is 0\.\d+, below 0.99") as caught:
        run(labels, "--model", MODEL, "--limit", 1, "--metrics", "oks", "--fail-under", "mean_oks=0.99")
    assert caught.value.exit_code == 6


def test_metrics_are_named_in_any_case_and_numbers_come_before_files(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"mean_oks is"):
        run(labels, "--model", MODEL, "--limit", 1, "--metrics", "oks", "--fail-under", "Mean_OKS=0.99")
    (tmp_path / "taken").mkdir()
    with pytest.raises(VitPoseError, match="cannot write"):
        run(labels, "--model", "no-such-model", "--out", tmp_path / "taken")


def test_the_plain_table_names_every_number_and_stdout_holds_nothing_else(labels: Path) -> None:
    result = run(labels, "--model", MODEL, "--limit", 1, "--metrics", "oks")
    rows = dict(line.split() for line in result.stdout.splitlines())
    assert {"ap", "ap50", "ar", "mean_oks", "found"} <= set(rows)
    assert 0 <= float(rows["mean_oks"]) <= 1
    assert "with flip test" in result.stderr


def test_second_pass_and_several_scales_are_measured_and_said(labels: Path) -> None:
    plain = run(labels, "--model", MODEL, "--limit", 2, "--metrics", "oks", "--json")
    more = run(labels, "--model", MODEL, "--limit", 2, "--metrics", "oks", "--json", "--refine", "--scales", "0.8,1")
    one, other = json.loads(plain.stdout), json.loads(more.stdout)
    assert "flip test, second pass, 2 scales," in other["protocol"]["text"]
    assert other["protocol"]["model"]["settings"]["scales"] == [0.8, 1.0]
    assert one["numbers"]["mean_oks"] != other["numbers"]["mean_oks"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-under", "ap"], "is not METRIC=VALUE"),
        (["--fail-under", "ap=75"], "a share between 0 and 1"),
        (["--fail-under", "nme=0.1"], "better when it is lower"),
        (["--scales", "0.8;1"], "numbers with commas between"),
        (["--boxes", "nowhere.json"], "neither gt, detector nor a file"),
        (["--model", MODEL, "--limit", "1", "--fail-under", "app=0.1"], "did you mean 'ap'"),
    ],
)
def test_wrong_calls(labels: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(labels, *arguments)


def untouched(*_: object, **__: object) -> None:
    pytest.fail("the work began")


@pytest.mark.parametrize("option", ["--out", "--predictions"])
@pytest.mark.parametrize("place", ["labels.json", "link.json", "boxes.json", "0.png", "tiny.safetensors"])
def test_what_is_read_is_not_written_over(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, place: str
) -> None:
    monkeypatch.setattr("vitpose.pipeline.assemble.load", untouched)
    (tmp_path / "link.json").symlink_to("labels.json")
    (tmp_path / "boxes.json").write_text("{}")
    (tmp_path / "tiny.safetensors").write_bytes(b"weights")
    before = (tmp_path / place).read_bytes()
    with pytest.raises(UsageError, match=rf"{option} .*{place} is read by this command"):
        run(labels, "--model", tmp_path / "tiny.safetensors", "--boxes", tmp_path / "boxes.json", option,
            tmp_path / place)  # fmt: skip
    assert (tmp_path / place).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".part")) == []


def test_a_report_does_not_replace_what_it_is_made_of(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitpose.pipeline.assemble.load", untouched)
    mine = labels.rename(labels.with_name("results.json"))
    with pytest.raises(UsageError, match=r"results\.json of --report, .*results\.json is read"):
        run(mine, "--model", MODEL, "--report", mine.parent)


def test_numbers_of_an_earlier_evaluation_are_replaced(labels: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run(labels, "--model", MODEL, "--limit", 1, "--metrics", "oks", "--out", tmp_path / "numbers.json")
    assert "mean_oks" in json.loads((tmp_path / "numbers.json").read_text())["numbers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-under", "app=0.1"], "did you mean 'ap'"),
        (["--fail-under", "ap=0.1", "--fail-under", "pckh@0.5=0.1"], "names 'pckh@0.5', which is not measured"),
        (["--fail-under", "ap=0.1", "--metrics", "pck"], "names 'ap', which is not measured"),
        (["--fail-under", "ap/person=0.1", "--boxes", "detector"], "'ap/person', which is not measured"),
        (["--metrics", "oks,pkc", "--fail-under", "ap=0.1"], "unknown metrics 'pkc'"),
        (["--scales", "9"], "scales must be different numbers from 0.25 to 4"),
        (["--scales", "1,1"], "scales must be different numbers"),
    ],
)
def test_what_cannot_be_is_refused_before_weights_are_loaded(
    labels: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("vitpose.pipeline.assemble.load", untouched)
    with pytest.raises(UsageError, match=message):
        run(labels, "--model", MODEL, *arguments)


def test_every_number_an_evaluation_gives_can_be_a_gate(labels: Path) -> None:
    numbers = json.loads(run(labels, "--model", MODEL, "--limit", 1, "--json").stdout)["numbers"]
    higher = [name for name in numbers if not name.startswith(("epe", "nme", "calibration_error"))]
    assert {"ap", "mean_oks", "found", "pck@0.2", "pck_torso@0.2", "auc@30px"} <= set(higher)
    gates = [word for name in higher for word in ("--fail-under", f"{name}=1")]
    with pytest.raises(GateError, match="mean_oks is"):
        run(labels, "--model", MODEL, "--limit", 1, *gates)


@pytest.mark.parametrize(
    ("skeleton", "extra", "gate"),
    [
        ("mpii16", {"head_size": 9.0}, "PCKh@0.5"),
        ("coco17", {"crowdIndex": 0.5}, "crowdpose_ap_hard"),
        ("wholebody133", {}, "left_hand_ap"),
        ("coco17", {"species": True}, "ap/dog"),
        ("coco17", {"metrics": ["aic"]}, "aic_score"),
    ],
)
def test_gates_on_what_some_sets_carry_are_known(skeleton: str, extra: dict[str, Any], gate: str) -> None:
    """Without a model: nobody is found, and the names are the same."""
    known = load_skeleton(skeleton)
    names = ["dog", "cat"] if "species" in extra else ["person"]
    size = Size(100, 100)
    images = tuple(
        ImageEntry(number, Path(f"{number}.png"), size, crowd_index=extra.get("crowdIndex")) for number in range(2)
    )
    records = tuple(
        PersonRecord(
            image=entry.path, image_id=entry.id, annotation_id=entry.id + 1, box=np.array([5.0, 5, 90, 90]),
            keypoints=np.full((len(known), 2), 50, np.float32), visibility=np.full(len(known), 2, np.int8),
            area=4000.0, label=names[entry.id % len(names)], head_size=extra.get("head_size"),
        )
        for entry in images
    )  # fmt: skip
    labelled = LabelledSet(
        name="made", skeleton=known, records=records, images=images, source=Path("made.json"), images_dir=Path()
    )
    _check_names({"ap": 0.1, gate: 0.1} if "metrics" not in extra else {gate: 0.1}, labelled, extra.get("metrics"),
                 None, given=True)  # fmt: skip
    with pytest.raises(UsageError, match="which is not measured"):
        _check_names({"apt": 0.1}, labelled, None, None, given=True)


def test_unknown_kind_and_missing_file() -> None:
    with pytest.raises(UsageError, match="did you mean 'crowdpose'"):
        run("crowdpos:labels.json")
    with pytest.raises(InputError, match=r"nothing\.json"):
        run("coco:nothing.json")
