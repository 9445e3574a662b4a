"""The examples of docs/schema.md run as they are written, in one folder and in order."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from films import film, write_journal

from vitpose.core.poses import Poses
from vitpose.formats.film import FILM_FORMATS, convert_film

PAGE = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
ROWS = [[1], [1, 2], [], [2, 1]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    convert_film(
        write_journal(tmp_path / "clip.jsonl", film(ROWS, raw=True, sure=True)), tmp_path, "clip", FILM_FORMATS
    )
    return tmp_path


def run(code: str) -> tuple[dict[str, object], str]:
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "docs/schema.md", "exec"), names)
    return names, said.getvalue()


def example(word: str) -> str:
    (code,) = [code for code in EXAMPLES if word in code]
    return code


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.split("\n", 1)[0])
def test_an_example_runs(place: Path, code: str) -> None:
    run(code)


def test_the_examples_say_what_the_film_holds(place: Path) -> None:
    _, said = run(example("read_frames_of"))
    assert [line.split()[0] for line in said.splitlines()] == ["0", "1", "2", "3"]
    _, said = run(example("pq.read_table"))
    assert said == "3 of 4 frames\n"
    _, said = run(example("DictReader"))
    assert len(json.loads(said)) == 3
    _, said = run(example("COCO("))
    assert [line for line in said.splitlines() if line.endswith("]")] == [
        "0 0.0 [1]", "1 0.04 [1, 2]", "2 0.08 []", "3 0.12 [2, 1]"
    ]  # fmt: skip
    names, _ = run(example("order.index"))
    assert names["score"] > 0


def test_an_annotation_for_pyskl_has_their_fields_and_types(place: Path) -> None:
    names, _ = run(example("frame_dir"))
    (annotation,) = names["dataset"]["annotations"]
    assert set(annotation) == {
        "frame_dir", "total_frames", "img_shape", "original_shape", "label", "keypoint", "keypoint_score"
    }  # fmt: skip
    assert annotation["keypoint"].shape == (2, 4, 17, 2)
    assert annotation["keypoint_score"].shape == (2, 4, 17)
    assert (annotation["total_frames"], annotation["img_shape"]) == (4, (480, 640))
    assert all(type(side) is int for side in annotation["img_shape"])


def test_every_field_of_a_document_is_on_the_page(place: Path) -> None:
    document = json.loads((place / "clip.jsonl").read_text().splitlines()[1])
    fields = {*document, *(f"image.{name}" for name in document["image"])} - {"image", "people"}
    fields |= {f"people[].{name}" for name in document["people"][0]}
    missing = {name for name in fields if f"`{name}`" not in PAGE}
    assert missing == set()
    assert Poses.from_dict(document).p_correct is not None


def test_every_field_of_the_other_formats_is_on_the_page(place: Path) -> None:
    with np.load(place / "clip.npz", allow_pickle=False) as arrays:
        fields = set(arrays)
    labels = json.loads((place / "clip.coco.json").read_text())
    for name in ("videos", "images", "annotations", "categories"):
        fields |= {name, *labels[name][0]}
    person = json.loads((place / "clip" / "clip_000000000001_keypoints.json").read_text())["people"][0]
    fields |= {name for name in person if not name.endswith("3d")}
    assert {name for name in fields - {"supercategory"} if f"`{name}`" not in PAGE} == set()
