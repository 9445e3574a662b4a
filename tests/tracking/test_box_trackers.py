"""Box trackers: what is ours by a stub of the library, which is no part of `all`, and the library where it is there."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from people_in_motion import people

from vitpose.core.errors import UsageError
from vitpose.tracking.base import UNTRACKED, track
from vitpose.tracking.box_trackers import BOX_TRACKERS, BoxTracker

library = pytest.mark.skipif(find_spec("trackers") is None, reason="the extra `trackers` is not installed")


class Detections:
    """As much of supervision's as is needed where it is not installed."""

    def __init__(self, *, xyxy: Any, confidence: Any, class_id: Any, data: dict[str, Any]) -> None:
        self.xyxy, self.confidence, self.class_id, self.data = xyxy, confidence, class_id, data
        self.tracker_id: Any = None

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, chosen: Any) -> "Detections":
        data = {name: values[chosen] for name, values in self.data.items()}
        return Detections(
            xyxy=self.xyxy[chosen], confidence=self.confidence[chosen], class_id=self.class_id[chosen], data=data
        )


class StubTracker:
    """A tracker of the library that answers as it is told, and notes what it was asked.

    Attributes:
        answer: from the number of detections to their order in what is returned, and the ids there.
    """

    answer: Callable[[int], tuple[list[int], list[int]]] = staticmethod(lambda n: (list(range(n)), list(range(n))))

    def __init__(self, lost_track_buffer: int = 30, enable_cmc: bool = False) -> None:
        self.lost_track_buffer = lost_track_buffer
        self.enable_cmc = enable_cmc
        self.asked: list[tuple[Any, Any, float]] = []
        self.resets = 0

    def update(self, detections: Any, frame: Any, time_s: float) -> Any:
        self.asked.append((detections, frame, time_s))
        order, ids = self.answer(len(detections))
        found = detections[np.array(order, dtype=int)]
        found.tracker_id = np.array(ids, dtype=int)
        return found

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[BoxTracker, StubTracker]]:
    """Make a box tracker on the stub; ``answer`` as there."""
    module: Any = ModuleType("trackers")
    for name in BOX_TRACKERS.values():
        setattr(module, name, StubTracker)
    monkeypatch.setitem(sys.modules, "trackers", module)
    if find_spec("supervision") is None:
        monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=Detections))

    def make(answer: Any = None, name: str = "bytetrack", **options: Any) -> tuple[BoxTracker, StubTracker]:
        if answer is not None:
            monkeypatch.setattr(StubTracker, "answer", staticmethod(answer))
        tracker = BoxTracker(name, options)
        inner = tracker._tracker
        assert isinstance(inner, StubTracker)
        return tracker, inner

    return make


def row(count: int) -> Any:
    return people(list(range(count)), [(100.0 * place, 50.0) for place in range(count)])


Stub = Callable[..., tuple[BoxTracker, StubTracker]]


@pytest.mark.parametrize("name", BOX_TRACKERS)
def test_the_library_sees_boxes_and_scores(stub: Stub, name: str) -> None:
    tracker, inner = stub(name=name)
    poses = row(3)
    tracked = tracker.update(poses, 0.5)
    detections, frame, time_s = inner.asked[0]
    np.testing.assert_array_equal(detections.xyxy, poses.boxes)
    np.testing.assert_array_equal(detections.confidence, poses.box_scores)
    assert (frame, time_s) == (None, 0.5)
    np.testing.assert_array_equal(tracked.xy, poses.xy)
    assert tracked.track_ids.tolist() == [1, 2, 3], "the library counts from 0, we from 1"


@pytest.mark.parametrize(
    ("order", "ids", "expected"),
    [
        ([2, 0, 1], [7, 3, 5], [4, 6, 8]),
        ([1, 2, 0], [-1, 4, 0], [1, UNTRACKED, 5]),
        ([2], [9], [UNTRACKED, UNTRACKED, 10]),
        ([0, 1, 2], [-1, -1, -1], [UNTRACKED] * 3),
        ([], [], [UNTRACKED] * 3),
    ],
)
def test_ids_come_back_to_whom_they_are_of(stub: Stub, order: list[int], ids: list[int], expected: list[int]) -> None:
    tracker, _ = stub(lambda _: (order, ids))
    assert tracker.update(row(3), 0.0).track_ids.tolist() == expected


def test_nobody_has_no_ids(stub: Stub) -> None:
    tracker, inner = stub()
    assert tracker.update(row(0), 0.0).track_ids.tolist() == []
    assert inner.asked[0][0].xyxy.shape == (0, 4)


def test_times_begin_at_0_or_later_and_always_go_on(stub: Stub) -> None:
    tracker, inner = stub()
    for time_s in (-1.0, -0.5, 0.04, 0.04, 0.02, 0.12):
        tracker.update(row(1), time_s)
    times = [time_s for _, _, time_s in inner.asked]
    assert times == pytest.approx([0, 0, 0.04, 0.04, 0.04, 0.12], abs=1e-5)
    assert times[0] == 0
    assert (np.diff(times) > 0).all()


def test_another_film_begins_anew(stub: Stub) -> None:
    tracker, inner = stub()
    list(track([(5.0, row(1)), (6.0, row(1))], tracker))
    list(track([(0.0, row(1))], tracker))
    assert inner.resets == 2
    assert [time_s for _, _, time_s in inner.asked] == [5.0, 6.0, 0.0]


@pytest.mark.parametrize("looks", [True, False])
def test_the_frame_goes_blue_first_to_trackers_that_look(stub: Stub, looks: bool, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    before = image.copy()
    tracker, inner = stub(enable_cmc=looks)
    tracker.update(row(1), 0.0, image)
    tracker.update(row(1), 0.1)
    (_, frame, _), (_, nothing, _) = inner.asked
    assert nothing is None
    if looks:
        np.testing.assert_array_equal(frame, image[..., ::-1])
        assert frame.flags.c_contiguous
        frame[:] = 0
    else:
        assert frame is None
    np.testing.assert_array_equal(image, before)


def test_options_reach_the_library_and_unknown_ones_name_the_nearest(stub: Stub) -> None:
    _, inner = stub(lost_track_buffer=60)
    assert inner.lost_track_buffer == 60
    with pytest.raises(UsageError, match=r"tracker 'sort' has no option 'lost_buffer'; did you mean 'lost_track_buf"):
        stub(name="sort", lost_buffer=3)


def test_an_unknown_name_needs_no_library() -> None:
    with pytest.raises(UsageError, match="unknown tracker 'byte_track'; did you mean 'bytetrack'"):
        BoxTracker("byte_track")


@library
@pytest.mark.parametrize("name", BOX_TRACKERS)
def test_people_keep_their_ids_and_their_places(name: str, rng: np.random.Generator) -> None:
    frames = []
    for i in range(30):
        order = [0, 1] if i % 2 else [1, 0]
        frames.append(people(order, [(60.0 + 200 * who + i, 100.0) for who in order], rng=rng, noise=1))
    tracked = list(track(((i / 25, poses) for i, poses in enumerate(frames)), BoxTracker(name)))
    names = set()
    for i, (before, after) in enumerate(zip(frames, tracked, strict=True)):
        np.testing.assert_array_equal(before.xy, after.xy)
        if i >= 10:
            names.add(tuple(after.track_ids.tolist() if i % 2 else after.track_ids.tolist()[::-1]))
    assert len(names) == 1
    assert len(set(names.pop()) - {UNTRACKED}) == 2


@library
@pytest.mark.parametrize("name", BOX_TRACKERS)
def test_nobody_is_no_problem(name: str) -> None:
    tracker = BoxTracker(name)
    assert tracker.update(people([], []), 0.0).track_ids.tolist() == []
    tracker.update(people([0], [(10, 10)]), 0.1)
    assert tracker.update(people([], []), 0.2).track_ids.tolist() == []
    tracker.reset()
    assert len(tracker.update(people([0], [(10, 10)]), 0.0).track_ids) == 1


@library
def test_times_that_go_back_do_no_harm() -> None:
    tracker = BoxTracker("bytetrack", {"minimum_consecutive_frames": 1})
    there = people([0], [(100, 100)])
    ids = [tracker.update(there, t).track_ids.tolist() for t in (-1.0, 0.0, 0.04, 0.08, 0.02, 0.12)]
    assert ids[-1] == ids[2] != [UNTRACKED]


@library
def test_unknown_options_of_the_library_say_what_is_near() -> None:
    with pytest.raises(UsageError, match=r"no option 'lost_buffer'.*'lost_track_buffer'"):
        BoxTracker("sort", {"lost_buffer": 3})
