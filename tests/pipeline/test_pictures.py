"""Pictures from file to poses, with an engine whose answer is known."""

import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spots import SpotEngine, estimator, picture

from vitpose.core.errors import InputError, UsageError
from vitpose.core.poses import Boxes
from vitpose.formats.results import Origin
from vitpose.media.sources import Source
from vitpose.pipeline import pictures as module
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.pictures import Picture, PictureWork
from vitpose.pipeline.summary import Failure

PEOPLE = (3, 0, 1, 7, 0, 2, 1, 1, 4)


def origin(name: str) -> Origin:
    return Origin(name=name, source=name, image_id=name)


def pairs(paths: list[Path]) -> list[tuple[Source, Origin]]:
    return [(Source("image", str(path), path.stem), origin(path.stem)) for path in paths]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(PEOPLE))]
    for seed, (path, people) in enumerate(zip(paths, PEOPLE, strict=True)):
        Image.fromarray(picture(people, seed)[0]).save(path)
    return paths


class Finds:
    """A detector that knows where the people of ``picture`` stand."""

    name = "finds"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: list[np.ndarray]) -> list[Boxes]:
        self.calls.append(len(images))
        return [Boxes([[200 * i + 60, 30, 200 * i + 135, 130] for i in range(self.people(image))]) for image in images]

    def people(self, image: np.ndarray) -> int:
        return image.shape[1] // 200 if image.any() else 0


def finder(detector: object = None, **options: object) -> PoseEstimator:
    plain = estimator(**options)
    return PoseEstimator(plain._heads, detector=detector or Finds(), options=plain.options)  # type: ignore[arg-type]


@pytest.mark.parametrize("readers", [1, 4])
@pytest.mark.parametrize("together", [1, 4, 16])
def test_results_are_those_of_one_picture_at_a_time(files, monkeypatch, readers, together) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: readers)
    monkeypatch.setattr(module, "IMAGES_IN_FLIGHT", together)
    found = list(PictureWork(finder(batch_size=4)).results(pairs(files)))
    alone = finder(batch_size=1)
    assert [entry.message for entry in found if isinstance(entry, Failure)] == []
    assert [entry.origin.name for entry in found] == [path.stem for path in files]
    for entry, path, people in zip(found, files, PEOPLE, strict=True):
        expected = alone(path)
        assert len(entry.poses) == people
        np.testing.assert_array_equal(entry.poses.xy, expected.xy)
        np.testing.assert_array_equal(entry.poses.scores, expected.scores)


def test_failures_keep_their_place(files, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    paths = [files[0], tmp_path / "missing.png", files[2], tmp_path / "broken.png"]
    found = list(PictureWork(finder()).results(pairs(paths)))
    assert [type(entry) for entry in found] == [Picture, Failure, Picture, Failure]
    assert [entry.source for entry in found if isinstance(entry, Failure)] == ["missing", "broken"]
    assert "does not exist" in found[1].message


@pytest.mark.parametrize("part", ["detector", "engine"])
def test_a_picture_that_spoils_its_batch_is_passed_over(files, monkeypatch, part) -> None:
    class Refuses(Finds):
        def people(self, image: np.ndarray) -> int:
            if part == "detector" and image.shape[1] == 1400:
                raise InputError("too wide")
            return super().people(image)

    work = finder(Refuses())
    if part == "engine":
        real = work.estimate

        def estimate(images, boxes=None):
            if any(image.shape[1] == 1400 for image in images):
                raise InputError("too wide")
            return real(images, boxes)

        monkeypatch.setattr(work, "estimate", estimate)
    found = list(PictureWork(work).results(pairs(files)))
    assert [index for index, entry in enumerate(found) if isinstance(entry, Failure)] == [3]
    assert found[3].message == "3: too wide"
    assert [len(entry.poses) for entry in found if isinstance(entry, Picture)] == [3, 0, 1, 0, 2, 1, 1, 4]


def test_errors_that_concern_the_whole_run_end_it(files) -> None:
    with pytest.raises(UsageError, match="no detector"):
        list(PictureWork(estimator()).results(pairs(files)))


def test_the_detector_looks_ahead_while_the_model_works(files, monkeypatch) -> None:
    monkeypatch.setattr(module, "IMAGES_IN_FLIGHT", 3)
    looked_again = threading.Event()

    class Tells(Finds):
        def __call__(self, images: list[np.ndarray]) -> list[Boxes]:
            if self.calls:
                looked_again.set()
            return super().__call__(images)

    work = finder(Tells())
    real, waited = SpotEngine.__call__, []

    def waits(engine: SpotEngine, crops: np.ndarray) -> np.ndarray:
        if not waited:
            waited.append(looked_again.wait(30))
        return real(engine, crops)

    monkeypatch.setattr(SpotEngine, "__call__", waits)
    assert len(list(PictureWork(work).results(pairs(files)))) == len(PEOPLE)
    assert waited == [True]


def test_memory_does_not_grow_with_the_number_of_pictures(monkeypatch) -> None:
    class Held(np.ndarray):
        """A picture that can be counted."""

    seen: list[weakref.ref[Held]] = []
    most = []

    def alive() -> int:
        return sum(one() is not None for one in seen)

    def read(_: str) -> np.ndarray:
        image = np.zeros((20, 30, 3), np.uint8).view(Held)
        seen.append(weakref.ref(image))
        most.append(alive())
        return image

    monkeypatch.setattr(module, "read_image", read)
    monkeypatch.setattr(module, "usable_cores", lambda: 2)
    monkeypatch.setattr(module, "IMAGES_IN_FLIGHT", 4)
    sources = [(Source("image", str(number), str(number)), origin(str(number))) for number in range(300)]
    count = 0
    for entry in PictureWork(finder()).results(sources):
        assert len(entry.poses) == 0
        count += 1
    del entry
    gc.collect()
    assert count == 300
    # Four batches of four (read, looked at, estimated, handed out), two readers with two each in store and one in hand.
    assert max(most) <= 4 * 4 + 2 * 3 + 1
    assert alive() <= 4


def test_large_pictures_wait_for_room(files, monkeypatch) -> None:
    monkeypatch.setattr(module, "_PIXELS", 1)
    detector = Finds()
    found = list(PictureWork(finder(detector)).results(pairs(files)))
    assert len(found) == len(PEOPLE)
    assert detector.calls == [1] * len(PEOPLE)


def test_closing_early_stops_the_threads(files) -> None:
    results = PictureWork(finder()).results(pairs(files * 20))
    next(results)
    results.close()
    deadline = time.monotonic() + 20
    while [t for t in threading.enumerate() if t.name.startswith(("film", "decode"))] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("film", "decode"))]
