"""The check-up finds planted faults in real labels, and suspects few labels that were left alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_up_sets import draw_pictures, make_set
from PIL import Image

from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.coco_writer import write_coco
from vitpose.data.doctor import check_dataset
from vitpose.data.findings import CHECKS, DoctorReport
from vitpose.data.readers.read import read_labelled

SETS = {"coco": ("data/coco/person_keypoints_val.json", 10_000), "lspet": ("data/lspet/annotations.json", 1000)}


@dataclass
class Copy:
    """A copy of a real set that faults are planted in."""

    folder: Path
    content: dict[str, Any]
    pairs: list[tuple[int, int]]
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(4))
    taken: set[Any] = field(default_factory=set)

    def people(self, count: int, keep: Callable[[dict[str, Any]], bool] = bool) -> list[dict[str, Any]]:
        """Return people nothing was planted in, with at least 8 labelled keypoints."""
        usable = [
            person
            for person in self.content["annotations"]
            if person.get("id", "gone") not in {*self.taken, "gone"}
            and not person["iscrowd"]
            and sum(value > 0 for value in person["keypoints"][2::3]) >= 8
            and keep(person)
        ]
        chosen = [usable[index] for index in self.rng.choice(len(usable), count, replace=False)]
        self.taken |= {person["id"] for person in chosen}
        return chosen

    def swap(self, person: dict[str, Any], pairs: list[int]) -> None:
        rows = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
        for pair in pairs:
            left, right = self.pairs[pair]
            rows[[left, right]] = rows[[right, left]]
        person["keypoints"] = rows.ravel().tolist()

    def whole_pairs(self, person: dict[str, Any]) -> list[int]:
        seen = person["keypoints"][2::3]
        return [index for index, (left, right) in enumerate(self.pairs) if seen[left] and seen[right]]

    def check(self, **more: Any) -> DoctorReport:
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(self.content))
        return check_dataset(path, self.folder / "images", kind="coco", **more)


def copy_of(name: str, shared: Path, folder: Path) -> Copy:
    path, first = SETS[name]
    content = json.loads((shared / path).read_text())
    images = content["images"][:first]
    kept = {image["id"] for image in images}
    content["images"] = images
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] in kept]
    (folder / "images").mkdir()
    source = (shared / path).parent / "images"
    for image in images:
        (folder / "images" / image["file_name"]).symlink_to(source / image["file_name"])
    skeleton = read_labelled("coco", shared / path).skeleton
    pairs = [(skeleton.index(left), skeleton.index(right)) for left, right in skeleton.flip_pairs]
    return Copy(folder, content, pairs)


def flagged(report: DoctorReport, check: str) -> set[Any]:
    return {finding.annotation_id for finding in report.of(check)}


def share(found: set[Any], people: list[dict[str, Any]]) -> float:
    return len(found & {person["id"] for person in people}) / len(people)


@pytest.mark.parametrize("name", SETS)
def test_faults_that_are_certain_are_all_found(shared, tmp_path, name):
    copy = copy_of(name, shared, tmp_path)
    before = copy.check()
    assert not before.failed()
    counts = {check: len(before.of(check)) for check in CHECKS}
    people = copy.content["annotations"]
    broken = copy.people(8)
    broken[0]["bbox"] = [1, 2, -3, 4]
    broken[1]["bbox"][3] = -5
    broken[2]["keypoints"] = broken[2]["keypoints"][:-3]
    broken[3]["keypoints"][0] = float("nan")
    broken[4]["keypoints"][2] = 3
    broken[5]["image_id"] = -7
    del broken[6]["id"]
    broken[7]["area"] = "large"
    origin = copy.people(6)
    for person in origin:
        person["keypoints"][:3] = [0, 0, 2]
    twice = copy.people(5)
    people += [{**person, "id": 10_000_000 + index} for index, person in enumerate(twice)]
    outside = copy.people(6)
    for person in outside:
        person["keypoints"][6:9] = [5000, 20, 2]
    images = copy.content["images"]
    used = {person["image_id"] for person in (*broken, *origin, *twice, *outside)}
    free = [image for image in images if image["id"] not in used]
    pictures = [tmp_path / "images" / image["file_name"] for image in free[:6]]
    pictures[0].unlink()
    pictures[1].unlink()
    for path, cut in ((pictures[2], 0.5), (pictures[3], 0.0)):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[: int(len(data) * cut)] or b"text")
    free[4]["width"] += 10
    free[5]["width"], free[5]["height"] = free[5]["height"] + 1, free[5]["width"]
    report = copy.check()
    assert report.failed()
    assert len(report.of("annotation")) == 8
    assert flagged(report, "origin") == {person["id"] for person in origin}
    assert flagged(report, "twice") == {10_000_000 + index for index in range(5)}
    assert {person["id"] for person in outside} <= flagged(report, "outside-picture")
    assert len(report.of("outside-picture")) == counts["outside-picture"] + 6
    assert len(report.of("outside-box")) >= 6
    assert {Path(finding.image) for finding in report.of("missing")} == set(pictures[:2])
    assert {Path(finding.image) for finding in report.of("unreadable")} == set(pictures[2:4])
    assert {Path(finding.image) for finding in report.of("size")} == set(pictures[4:6])


@pytest.mark.parametrize(("name", "recall", "alarms"), [("coco", 0.3, 0.01), ("lspet", 0.4, 0.05)])
def test_exchanged_sides(shared, tmp_path, name, recall, alarms):
    """Alarms are counted on real labels that nothing was planted in; many of lspet's are true faults of its labels."""
    copy = copy_of(name, shared, tmp_path)
    before = flagged(copy.check(), "left-right")
    people = copy.people(25, lambda person: person["id"] not in before and len(copy.whole_pairs(person)) >= 4)
    for person in people:
        copy.swap(person, [int(copy.rng.choice(copy.whole_pairs(person)))])
    found = flagged(copy.check(), "left-right")
    untouched = {person["id"] for person in copy.content["annotations"]} - {person["id"] for person in people}
    print(f"recall {share(found, people):.2f}, alarms {len(found & untouched) / len(untouched):.4f}")
    assert share(found, people) >= recall
    assert len(found & untouched) / len(untouched) <= alarms


@pytest.mark.parametrize(("name", "recall", "alarms"), [("coco", 0.55, 0.002), ("lspet", 0.5, 0.012)])
def test_points_at_wrong_places(shared, tmp_path, name, recall, alarms):
    copy = copy_of(name, shared, tmp_path)
    people = copy.people(30)
    for person in people:
        rows = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
        known = np.flatnonzero(rows[:, 2])
        size = np.linalg.norm(np.ptp(rows[known, :2], axis=0))
        angle = copy.rng.uniform(0, 2 * np.pi)
        moved = copy.rng.choice(known[known >= 5]) if name == "coco" else copy.rng.choice(known)
        rows[moved, :2] += size * copy.rng.uniform(0.6, 1) * np.array([np.cos(angle), np.sin(angle)])
        person["keypoints"] = rows.ravel().tolist()
    found = flagged(copy.check(), "length")
    untouched = {person["id"] for person in copy.content["annotations"]} - {person["id"] for person in people}
    print(f"recall {share(found, people):.2f}, alarms {len(found & untouched) / len(untouched):.4f}")
    assert share(found, people) >= recall
    assert len(found & untouched) / len(untouched) <= alarms


def test_pictures_in_two_splits(shared, tmp_path):
    """Copies that were shrunk, brightened and encoded again are found; no two different photographs are."""
    content = json.loads((shared / SETS["coco"][0]).read_text())
    source = (shared / SETS["coco"][0]).parent / "images"
    images = content["images"][:120]
    for side, listed in (("train", images[:80]), ("val", images[60:])):
        (tmp_path / side).mkdir()
        for image in listed:
            with Image.open(source / image["file_name"]) as picture:
                if side == "val":
                    picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3))  # noqa: PLW2901
                    picture = picture.point(lambda level: min(int(level * 1.15), 255))  # noqa: PLW2901
                picture.convert("RGB").save(tmp_path / side / f"{side}_{image['file_name']}", quality=50)
        listed = [{"id": one["id"], "file_name": f"{side}_{one['file_name']}"} for one in listed]  # noqa: PLW2901
        plain = {"images": listed, "annotations": [], "categories": content["categories"]}
        (tmp_path / f"{side}.json").write_text(json.dumps(plain))
    report = check_dataset(
        tmp_path / "train.json", tmp_path / "train", others=[(tmp_path / "val.json", tmp_path / "val")]
    )
    leaks = {Path(finding.image).name for finding in report.of("leak")}
    planted = {f"train_{image['file_name']}" for image in images[60:80]}
    print(f"recall {len(leaks & planted) / 20:.2f}")
    assert len(leaks & planted) >= 19
    assert not leaks - planted
    assert not report.of("same-picture")
    assert report.failed()


def test_unlabelled_people(tmp_path):
    labelled = make_set(load_skeleton("coco17"), people=4, folder=tmp_path / "images")
    draw_pictures(labelled)
    write_coco(labelled, tmp_path / "labels.json")
    everyone = np.stack([record.box for record in labelled.records])
    stranger = np.array([[0.0, 100, 20, 118]])

    def find(images):
        boxes = np.concatenate([everyone, stranger])
        return [SimpleNamespace(xyxy=boxes, scores=np.array([0.9] * 4 + [0.95])) for _ in images]

    found = check_dataset(tmp_path / "labels.json", find_people=find).of("unlabelled")
    assert len(found) == 2
    assert all("0 100 20 118" in finding.message for finding in found)

    def doubtful(images):
        return [SimpleNamespace(xyxy=stranger, scores=np.array([0.4])) for _ in images]

    assert not check_dataset(tmp_path / "labels.json", find_people=doubtful).of("unlabelled")


def test_people_in_a_crowd_need_no_label(tmp_path):
    labelled = make_set(load_skeleton("coco17"), people=2, folder=tmp_path / "images")
    draw_pictures(labelled)
    write_coco(labelled, tmp_path / "labels.json")
    content = json.loads((tmp_path / "labels.json").read_text())
    content["annotations"].append({"id": 99, "image_id": 0, "category_id": 1, "bbox": [0, 60, 90, 60], "iscrowd": 1})
    (tmp_path / "labels.json").write_text(json.dumps(content))

    def find(images):
        return [SimpleNamespace(xyxy=np.array([[10.0, 80, 30, 115]]), scores=np.ones(1)) for _ in images]

    assert not check_dataset(tmp_path / "labels.json", find_people=find).of("unlabelled")


def test_little_to_learn_from_and_what_could_not_be_checked(tmp_path):
    skeleton = Skeleton("worm", ("head", "middle", "tail"))
    labelled = make_set(skeleton, people=4, folder=tmp_path)
    draw_pictures(labelled)
    write_coco(labelled, tmp_path / "labels.json")
    report = check_dataset(tmp_path / "labels.json")
    assert len(report.of("few")) == 2
    assert report.of("no-pairs")
    assert any(reason.startswith("left-right") for reason in report.skipped)
    assert not report.failed()
    assert report.failed(strict=True)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["counts"]["few"] == 2
    assert plain["people"] == 4


@pytest.mark.parametrize(
    ("pairs", "message"),
    [([[0, 0]], "identity"), ([[0, 1], [1, 2]], "not symmetric"), ([[0, 7]], "does not exist")],
)
def test_mirror_pairs_that_contradict_themselves(tmp_path, pairs, message):
    category = {"id": 1, "name": "x", "keypoints": ["a", "b", "c"], "flip_pairs": pairs}
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": [category]}))
    (finding,) = check_dataset(path).findings
    assert finding.check == "file"
    assert message in finding.message


def test_files_that_cannot_be_used(tmp_path):
    (finding,) = check_dataset(tmp_path / "none.json").findings
    assert (finding.check, finding.severity) == ("file", "error")
    (tmp_path / "bad.json").write_text("{")
    assert check_dataset(tmp_path / "bad.json").failed()


def test_every_finding_has_its_explanation(shared, tmp_path):
    copy = copy_of("coco", shared, tmp_path)
    assert {finding.check for finding in copy.check().findings} <= set(CHECKS)
