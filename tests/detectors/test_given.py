"""Boxes of every form of file reach the right picture, and wrong ones are named."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitpose.core.errors import InputError
from vitpose.core.geometry import Size, xyxy_to_xywh
from vitpose.detectors.given import GivenBoxes

SIZE = Size(100, 200)


def load(tmp_path, content, name="boxes.json", **options):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return GivenBoxes.from_file(path, **options)


def detection(image_id, bbox=(10, 20, 30, 40), score=0.5, category_id=1):
    return {"image_id": image_id, "bbox": list(bbox), "score": score, "category_id": category_id}


def test_coco_detections_by_the_number_in_the_name(tmp_path):
    given_boxes = load(tmp_path, [detection(785), detection(785, (1, 2, 3, 4), 0.25), detection(9)])
    for picture in ("val/000000000785.jpg", Path("785.png"), 785, "COCO_val2014_000000000785.jpg"):
        boxes = given_boxes.boxes_for(picture, SIZE)
        assert boxes.xyxy.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
        assert boxes.scores.tolist() == [0.5, 0.25]
        assert boxes.labels == ("person", "person")
    for picture in ("786.jpg", "clip_785.jpg", 786):
        assert len(given_boxes.boxes_for(picture, SIZE)) == 0


def test_detections_may_carry_names_instead_of_numbers(tmp_path):
    given_boxes = load(tmp_path, [detection("a"), detection("b.jpg")])
    assert len(given_boxes.boxes_for("x/a.jpg", SIZE)) == 1
    assert len(given_boxes.boxes_for("b.jpg", SIZE)) == 1
    assert len(given_boxes.boxes_for("b.png", SIZE)) == 0


def coco(**more):
    return {
        "images": [
            {"id": 1, "file_name": "train/a.jpg"},
            {"id": 2, "file_name": "7.jpg"},
            {"id": 7, "file_name": "b.jpg"},
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 4, "name": "cow"}],
        "annotations": [
            {"id": 10, "image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10], "iscrowd": 0},
            {"id": 11, "image_id": 1, "category_id": 3, "bbox": [0, 0, 99, 99], "iscrowd": 1},
            {"id": 12, "image_id": 7, "category_id": 4, "bbox": [5, 5, 10, 10]},
        ],
    } | more


def test_coco_annotations_by_file_name_and_id(tmp_path):
    given_boxes = load(tmp_path, coco())
    for picture in ("/data/train/a.jpg", "a.jpg", 1):
        boxes = given_boxes.boxes_for(picture, SIZE)
        assert boxes.xyxy.tolist() == [[0, 0, 10, 10]]
        assert boxes.labels == ("dog",)
    assert given_boxes.boxes_for("b.jpg", SIZE).labels == ("cow",)
    assert given_boxes.boxes_for(7, SIZE).labels == ("cow",)
    assert len(given_boxes.boxes_for("7.jpg", SIZE)) == 0  # the name counts, not the number in it
    assert len(given_boxes.boxes_for(2, SIZE)) == 0


def test_a_mapping_of_names(tmp_path):
    given_boxes = load(tmp_path, {"a.jpg": [[1, 2, 3, 4], [5, 6, 7, 8, 0.5]], "b.jpg": [], "c.jpg": [1, 2, 3, 4]})
    boxes = given_boxes.boxes_for("dir/a.jpg", SIZE)
    assert boxes.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert boxes.scores.tolist() == [1, 0.5]
    assert len(given_boxes.boxes_for("b.jpg", SIZE)) == 0
    assert len(given_boxes.boxes_for("c.jpg", SIZE)) == 1


@pytest.mark.parametrize("mark", [",", "\t", ";", " ", ", "])
@pytest.mark.parametrize("header", [True, False])
def test_lines(tmp_path, mark, header):
    rows = [["a.jpg", "1", "2", "3.5", "4"], ["b.jpg"], ["a.jpg", "5", "6", "7", "8"]]
    if header:
        rows.insert(0, ["file", "x1", "y1", "x2", "y2"])
    given_boxes = load(
        tmp_path, "\ufeff# made by hand\n\n" * (mark == ",") + "\n".join(map(mark.join, rows)), "boxes.csv"
    )
    assert given_boxes.boxes_for("a.jpg", SIZE).xyxy.tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8]]
    assert len(given_boxes.boxes_for("b.jpg", SIZE)) == 0
    given_boxes.check_sources(["a.jpg", "b.jpg"])


def test_lines_with_scores_and_quoted_names(tmp_path):
    given_boxes = load(tmp_path, 'file,x1,y1,x2,y2,score\n"a, b.jpg",1,2,3,4,0.5\nc.jpg,1,2,3,4,0.25\n', "boxes.txt")
    assert given_boxes.boxes_for("a, b.jpg", SIZE).scores.tolist() == [0.5]
    assert given_boxes.boxes_for("c.jpg", SIZE).scores.tolist() == [0.25]


numbers = st.floats(0, 1000, width=32)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(numbers, numbers, st.floats(1, 100, width=32), st.floats(1, 100, width=32)), max_size=5))
def test_every_form_says_the_same(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("forms")
    xyxy = np.array([[x, y, x + w, y + h] for x, y, w, h in parts], np.float32).reshape(-1, 4)
    xywh = xyxy_to_xywh(xyxy.astype(np.float64)).tolist()
    images = [{"id": 5, "file_name": "5.jpg"}]
    forms = {
        "list.json": [{"image_id": 5, "bbox": box} for box in xywh],
        "coco.json": {"images": images, "annotations": [{"image_id": 5, "bbox": box} for box in xywh]},
        "map.json": {"5.jpg": xyxy.tolist()},
        "lines.csv": "file,x1,y1,x2,y2\n" + "".join(f"5.jpg,{','.join(map(repr, row))}\n" for row in xyxy.tolist()),
    }
    for name, content in forms.items():
        boxes = load(folder, content, name).boxes_for("5.jpg", Size(3000, 3000))
        np.testing.assert_allclose(boxes.xyxy, xyxy, rtol=1e-5, atol=1e-4)


BAD_BOXES = {
    "not a finite number": [[1, 2, float("nan"), 4], [1, 2, float("inf"), 4]],
    "wrong order": [[5, 2, 3, 4], [1, 8, 3, 4]],
    "no area": [[3, 2, 3, 4], [1, 4, 3, 4]],
    "not a number": [[1, 2, "x", 4], [1, 2, None, 4], [True, 2, 3, 4]],
    "four numbers": [[1, 2, 3], [1, 2, 3, 4, 5, 6]],
    "score must be": [[1, 2, 3, 4, float("nan")], [1, 2, 3, 4, "good"], [1, 2, 3, 4, 7], [1, 2, 3, 4, -0.1]],
    "shorter than 0.01": [[1, 2, 1.0001, 4], [1, 2, 3, 2.009]],
}


@pytest.mark.parametrize(("words", "box"), [(words, box) for words, boxes in BAD_BOXES.items() for box in boxes])
def test_bad_boxes_name_file_and_place(tmp_path, words, box):
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path, {"a.jpg": [[1, 2, 3, 4], box]})
    assert "boxes.json, 'a.jpg', box 1: " in str(caught.value)
    assert str(caught.value).count("box ") == 1 or "a box has four" in str(caught.value)
    if None not in box and True not in box[:1]:
        with pytest.raises(InputError, match=words) as caught:
            load(tmp_path, "a.jpg,1,2,3,4\n" + ",".join(["a.jpg", *map(str, box)]), "boxes.csv")
        assert "boxes.csv, line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("bbox", "words"),
    [
        ([1, 2, 0, 4], "no area"),
        ([1, 2, -3, 4], "wrong order"),
        ([1, 2, 3], "x, y, width, height"),
        ("1 2 3 4", "x, y, width, height"),
        ([1, 2, None, 4], "not a number"),
        ([1e6, 2, 1e-3, 4], "no area"),
        ([1, 2, 1e-4, 4], "no area"),
    ],
)
def test_bad_coco_boxes_name_the_entry(tmp_path, bbox, words):
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path, [detection(1), {"image_id": 1, "bbox": bbox}])
    assert "boxes.json, entry 1" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("5", "a single value and no boxes"),
        ("null\n", "a single value and no boxes"),
        ("{not json", "not valid JSON"),
        ([{"bbox": [1, 2, 3, 4]}], "image_id is missing"),
        ([{"image_id": 1}], "bbox is missing"),
        ([{"image_id": [1], "bbox": [1, 2, 3, 4]}], "a number or a name"),
        ([[1, 2, 3, 4]], "image_id is missing"),
        ({"a.jpg": {"x1": 3}}, "list of boxes is missing"),
        ({"annotations": []}, "no usable tables"),
        (coco(annotations=[{"image_id": 99, "bbox": [1, 2, 3, 4]}]), "99 is not in the file's table"),
        ("name,x,y,w,h\na.jpg,1,2,3,4", "columns must be"),
        ("a.jpg,1,2\n", "four numbers"),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path, content)
    assert "boxes.json" in str(caught.value)


def test_a_missing_file_and_one_that_is_no_text(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        GivenBoxes.from_file(tmp_path / "none.json")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"a\.csv is no text, and so neither JSON nor CSV; boxes come as"):
        GivenBoxes.from_file(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory$"):
        GivenBoxes.from_file(tmp_path)


def test_partly_outside_is_fine_wholly_outside_is_not(tmp_path):
    rows = {"in.jpg": [[-50, -50, 1, 1], [199, 99, 300, 300]], "out.jpg": [[1, 1, 2, 2], [200, 10, 300, 50]]}
    given_boxes = load(tmp_path, rows)
    assert given_boxes.boxes_for("in.jpg", SIZE).xyxy.tolist() == rows["in.jpg"]
    with pytest.raises(InputError, match=r"'out\.jpg', box 1.*lies outside the picture out\.jpg, which is 200x100"):
        given_boxes.boxes_for("out.jpg", SIZE)


def test_folders_tell_equal_names_apart(tmp_path):
    given_boxes = load(tmp_path, {"a/x.jpg": [[1, 1, 2, 2]], "b/x.jpg": [[3, 3, 4, 4]], "c\\y.jpg": [[5, 5, 6, 6]]})
    assert given_boxes.boxes_for("/data/a/x.jpg", SIZE).xyxy[0, 0] == 1
    assert given_boxes.boxes_for("b/x.jpg", SIZE).xyxy[0, 0] == 3
    assert given_boxes.boxes_for("/elsewhere/y.jpg", SIZE).xyxy[0, 0] == 5
    assert given_boxes.boxes_for("https://host/b/x.jpg?size=1", SIZE).xyxy[0, 0] == 3
    with pytest.raises(InputError, match=r"may be 'a/x\.jpg' or 'b/x\.jpg'"):
        given_boxes.boxes_for("x.jpg", SIZE)


def test_sources_are_checked_before_a_run(tmp_path, caplog):
    given_boxes = load(tmp_path, {"a.jpg": [[1, 1, 2, 2]], "b.jpg": [], "c.jpg": []})
    with pytest.raises(InputError, match=r"none of the 2 pictures has an entry; the file knows 'a\.jpg'"):
        given_boxes.check_sources(["x.jpg", "y.jpg"])
    with pytest.raises(InputError, match=r"fits both 1/a\.jpg and 2/a\.jpg"):
        given_boxes.check_sources(["1/a.jpg", "2/a.jpg"])
    with caplog.at_level(logging.WARNING):
        given_boxes.check_sources(["a.jpg", "b.jpg", "c.jpg"])
        assert caplog.text == ""
        given_boxes.check_sources(["a.jpg", "x.jpg", "y.jpg"])
    assert "2 of 3 pictures have no entry" in caplog.text
    assert "2 entries are about pictures that were not given" in caplog.text


@pytest.mark.parametrize("content", [[], {}, "# nothing but words\n"])
def test_a_file_without_boxes_says_so(tmp_path, content):
    with pytest.raises(InputError, match=r"boxes\.json has no boxes and names no pictures; to say that nobody is in"):
        load(tmp_path, content).check_sources(["a.jpg"])


def test_only_entries_that_are_left_out_are_hinted_at(tmp_path):
    names = [f"{letter}.jpg" for letter in "abcd"]
    with pytest.raises(InputError, match=r"knows 'a\.jpg', 'b\.jpg', 'c\.jpg' …$"):
        load(tmp_path, {name: [] for name in names}).check_sources(["x.jpg"])
    with pytest.raises(InputError, match=r"knows 'a\.jpg', 'b\.jpg', 'c\.jpg'$"):
        load(tmp_path, {name: [] for name in names[:3]}).check_sources(["x.jpg"])


def test_classes_and_threshold_choose(tmp_path, caplog):
    rows = [detection(1, score=0.9), detection(1, score=0.2), detection(1, score=0.8, category_id=18)]
    with caplog.at_level(logging.WARNING):
        assert len(load(tmp_path, rows).boxes_for(1, SIZE)) == 3
    assert "2 classes" in caplog.text
    caplog.clear()
    chosen = load(tmp_path, rows, classes=["PERSON"], threshold=0.5)
    assert chosen.boxes_for(1, SIZE).scores.tolist() == pytest.approx([0.9])
    assert caplog.text == ""
    assert load(tmp_path, coco(), classes=["cow"]).boxes_for("a.jpg", SIZE).labels == ()


def test_real_detections_and_annotations(shared):
    folder = shared / "data/formats/coco"
    detections = GivenBoxes.from_file(folder / "test_coco_det_AP_H_56.json")
    annotations = GivenBoxes.from_file(folder / "test_coco.json")
    pictures = sorted(folder.glob("*.jpg"))
    for given_boxes, expected in ((detections, 118), (annotations, None)):
        given_boxes.check_sources(pictures)
        sizes = {"000000000785": Size(425, 640)}
        counts = [len(given_boxes.boxes_for(path, sizes.get(path.stem, Size(640, 640)))) for path in pictures]
        assert min(counts) > 0
        assert expected in (None, sum(counts))
    best = detections.boxes_for(pictures[0], Size(425, 640))[:1].xyxy[0]
    np.testing.assert_allclose(best, [277.118, 45.6997, 502.2096, 379.26], atol=1e-2)


def test_real_detections_of_another_set(shared):
    folder = shared / "data/formats/humanart"
    labels = GivenBoxes.from_file(folder / "test_humanart.json")
    pictures = sorted(folder.rglob("*.jpg"))
    labels.check_sources(pictures)
    assert sum(len(labels.boxes_for(path, Size(4000, 4000))) for path in pictures) == 4


def test_ids_of_a_large_file_are_found_without_looking_through_it(tmp_path):
    images = [{"id": number, "file_name": f"a/{number:05d}x.jpg"} for number in range(1, 3001)]
    given = load(tmp_path, {"images": images, "annotations": [], "categories": []})
    assert [given.image_id(image["file_name"]) for image in images] == list(range(1, 3001))
    assert given.numbers["a/00007x.jpg"] == 7
    assert given.knows("b/00007x.jpg")
    assert not given.knows("a/other.jpg")
    assert given.image_id("a/other.jpg") is None
