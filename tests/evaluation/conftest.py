"""A labelled set and estimators whose answers are known."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.provenance import Provenance
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord


class Oracle:
    """An estimator that knows the labels and answers with as much noise as it is told to.

    The noise is a share of the root of the person's area; scores fall with it. Boxes it is given are matched to the
    labelled person with the nearest centre.
    """

    engine = SimpleNamespace(input_size=Size(256, 192))
    head = SimpleNamespace(square_box=False)

    def __init__(
        self, labelled: LabelledSet, noise: float = 0.0, *, skeleton: Skeleton | None = None, seed: int = 0
    ) -> None:
        self.labelled = labelled
        self.noise = noise
        self.skeleton = skeleton or labelled.skeleton
        self.seed = seed
        self.detector: Any = None
        self.flip_test = False
        self.read: list[str] = []

    def with_options(self, *, flip_test: bool) -> "Oracle":
        self.flip_test = flip_test
        return self

    def stream(self, images: Iterable[Path], *, boxes: Iterable[Boxes] | None = None) -> Iterator[Poses]:
        given = iter(boxes) if boxes is not None else None
        for path in images:
            self.read.append(Path(path).name)
            here = [record for record in self.labelled.records if record.image == path]
            found = next(given) if given is not None else self.detector(here)
            yield self._answer(here, found)

    def _answer(self, here: list[PersonRecord], boxes: Boxes) -> Poses:
        keypoints = len(self.skeleton)
        xy, scores = np.zeros((len(boxes), keypoints, 2)), np.zeros((len(boxes), keypoints))
        order = [self.labelled.skeleton.index(name) for name in self.skeleton.keypoints]
        for place, box in enumerate(boxes.xyxy):
            rng = np.random.default_rng([self.seed, *np.abs(np.round(box)).astype(int).tolist()])
            centers = np.array([(record.box[:2] + record.box[2:]) / 2 for record in here])
            record = here[int(np.linalg.norm(centers - (box[:2] + box[2:]) / 2, axis=1).argmin())]
            size = self.noise * rng.choice([0.5, 1, 3], keypoints)
            # What is not labelled is somewhere on the person all the same.
            middle = (record.box[:2] + record.box[2:]) / 2
            points = np.where(record.visibility[order, None] > 0, record.keypoints[order], middle)
            xy[place] = points + rng.normal(size=(keypoints, 2)) * size[:, None] * np.sqrt(record.area)
            scores[place] = np.clip(0.95 - 2.5 * size + rng.normal(0, 0.05, keypoints), 0.01, 1.05)
        return Poses(
            xy=xy, scores=scores, boxes=boxes.xyxy, box_scores=boxes.scores, labels=boxes.labels,
            skeleton=self.skeleton, image_size=Size(480, 640),
            model=Provenance(name=f"oracle {self.noise:g}", settings=(("flip_test", self.flip_test),)),
        )  # fmt: skip


def made_up(
    folder: Path, people: int = 40, pictures: int = 10, *, skeleton: str = "coco17", seed: int = 0
) -> LabelledSet:
    """People in flat pictures, some keypoints hidden, some not labelled."""
    rng = np.random.default_rng(seed)
    chosen = load_skeleton(skeleton)
    entries = []
    for number in range(pictures):
        path = folder / f"{number}.jpg"
        Image.fromarray(np.full((480, 640, 3), 90, np.uint8)).save(path)
        entries.append(ImageEntry(id=number, path=path, size=Size(480, 640)))
    records = []
    for number in range(people):
        entry = entries[number % pictures]
        width, height = rng.uniform(30, 120), rng.uniform(60, 200)
        left, top = rng.uniform(0, 500), rng.uniform(0, 260)
        seen = rng.choice([0, 1, 2], len(chosen), p=[0.15, 0.25, 0.6]).astype(np.int8)
        seen[0] = 2
        points = np.stack(
            [rng.uniform(left, left + width, len(chosen)), rng.uniform(top, top + height, len(chosen))], 1
        )
        records.append(
            PersonRecord(
                image=entry.path, image_id=entry.id, annotation_id=number,
                box=np.array([left, top, left + width, top + height]), keypoints=points.astype(np.float32),
                visibility=seen, area=0.53 * width * height, label="person",
            )
        )  # fmt: skip
    return LabelledSet(name="made up", skeleton=chosen, records=tuple(records), images=tuple(entries), source=folder)


def coco_validation(shared: Path) -> LabelledSet:
    """610 real people in 250 pictures, crowds and people without keypoints included."""
    folder = shared / "data/coco"
    plain = json.loads((folder / "person_keypoints_val.json").read_text())
    images = {entry["id"]: entry for entry in plain["images"]}
    entries = tuple(
        ImageEntry(entry["id"], folder / "images" / entry["file_name"], Size(entry["height"], entry["width"]))
        for entry in images.values()
    )
    paths = {entry.id: entry.path for entry in entries}
    records = []
    for entry in plain["annotations"]:
        points = np.array(entry["keypoints"], dtype=np.float32).reshape(-1, 3)
        x, y, width, height = entry["bbox"]
        records.append(
            PersonRecord(
                image=paths[entry["image_id"]], image_id=entry["image_id"], annotation_id=entry["id"],
                box=np.array([x, y, x + width, y + height]), keypoints=points[:, :2],
                visibility=points[:, 2].astype(np.int8), area=entry["area"], crowd=bool(entry["iscrowd"]),
                label="person",
            )
        )  # fmt: skip
    skeleton = load_skeleton("coco17")
    return LabelledSet(name="COCO people", skeleton=skeleton, records=tuple(records), images=entries, source=folder)


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledSet:
    return made_up(tmp_path)


@pytest.fixture
def make_oracle() -> Callable[..., Oracle]:
    return Oracle


@pytest.fixture(scope="session")
def real_people(shared: Path) -> LabelledSet:
    return coco_validation(shared)


@pytest.fixture
def relabel() -> Callable[..., LabelledSet]:
    def change(labelled: LabelledSet, number: int, **fields: Any) -> LabelledSet:
        records = list(labelled.records)
        records[number] = replace(records[number], **fields)
        return replace(labelled, records=tuple(records))

    return change
