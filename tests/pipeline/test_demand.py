"""Between two looks of the detector people are where their poses say, until those are not believed."""

from dataclasses import replace

import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.similarity import iou_matrix
from vitpose.core.skeleton import Skeleton
from vitpose.pipeline.demand import Demand
from vitpose.pipeline.refine import pose_boxes

FIVE = Skeleton(name="five", keypoints=tuple("abcde"))
SHAPE = np.array([[0, 0], [40, 0], [0, 100], [40, 100], [20, 50]], np.float32)


def poses(*corners: tuple[float, float], score: float = 0.8, box_score: float = 0.9) -> Poses:
    """People of 40 x 100 with their upper left keypoint at ``corners``."""
    if not corners:
        return Poses.empty(FIVE, Size(480, 640))
    xy = SHAPE + np.array(corners, np.float32)[:, None]
    boxes = np.concatenate([xy.min(axis=1) - 5, xy.max(axis=1) + 5], axis=1)
    return Poses(
        xy=xy,
        scores=np.full((len(xy), 5), score),
        boxes=boxes,
        box_scores=np.full(len(xy), box_score),
        skeleton=FIVE,
        image_size=Size(480, 640),
    )


def after(*frames: Poses, every: int = 4) -> Demand:
    """A demand that has seen the frames, the first with the detector."""
    demand = Demand(every)
    for number, frame in enumerate(frames):
        demand.take(frame, detected=number == 0)
    return demand


def boxes_of(people: Poses) -> Boxes:
    return Boxes(people.boxes, people.box_scores, people.labels)


def test_the_detector_looks_at_every_so_many_th_frame() -> None:
    assert [Demand(3).is_due(i) for i in range(7)] == [True, False, False, True, False, False, True]
    assert all(Demand(1).is_due(i) for i in range(5))


def test_nothing_is_expected_before_the_first_frame_and_nobody_after_an_empty_one() -> None:
    assert Demand(4).expected() is None
    expected = after(poses()).expected()
    assert expected is not None
    assert len(expected) == 0
    assert after(poses()).believes(poses())


def test_people_are_expected_where_their_motion_takes_them() -> None:
    still = after(poses((100, 100)), poses((100, 100))).expected()
    moved = after(poses((90, 100)), poses((100, 100))).expected()
    assert still is not None
    assert moved is not None
    np.testing.assert_allclose(still.xyxy, pose_boxes(poses((100, 100))), atol=1e-4)
    shift = moved.xyxy - still.xyxy
    assert shift[0, 2] > 5
    assert abs(shift[0, 0]) <= 5, "the box grows rather than leave who stops"
    np.testing.assert_array_equal(moved.scores, np.float32([0.9]))


def test_a_box_does_not_collapse_when_keypoints_hide() -> None:
    hidden = poses((100, 100))
    scores = hidden.scores.copy()
    scores[:, 4] = 0.0
    xy = hidden.xy.copy()
    xy[:, 2:4, 1] -= 70  # the lower keypoints seem to be further up
    expected = after(poses((100, 100)), replace(hidden, xy=xy, scores=scores)).expected()
    assert expected is not None
    height = expected.xyxy[0, 3] - expected.xyxy[0, 1]
    assert height >= 0.89 * (hidden.boxes[0, 3] - hidden.boxes[0, 1])


def test_a_motion_is_known_across_a_look_of_the_detector() -> None:
    demand = after(poses((100, 100), (300, 100)))
    demand.take(poses((310, 100), (100, 100)), detected=True)  # the other way round
    expected = demand.expected()
    assert expected is not None
    center = (expected.xyxy[:, 0] + expected.xyxy[:, 2]) / 2
    np.testing.assert_allclose(center, [335, 120], atol=1e-3)


def test_good_poses_are_believed_and_doubtful_ones_are_not() -> None:
    demand = after(poses((100, 100), (300, 100)))
    assert demand.believes(poses((102, 100), (303, 101)))
    assert demand.believes(poses((102, 100), (303, 101), score=0.7))
    assert not demand.believes(poses((102, 100), (303, 101), score=0.4)), "scores fell"
    assert not demand.believes(poses((100, 100), (110, 100))), "two boxes met"
    jumped = poses((102, 100), (500, 300))
    expected = demand.expected()
    assert expected is not None
    assert not demand.believes(replace(jumped, boxes=expected.xyxy)), "a pose outside the box it was looked for in"
    assert not demand.believes(replace(jumped, boxes=pose_boxes(jumped))), "a second pass takes its box along"


def test_who_leaves_the_picture_is_looked_for_once() -> None:
    assert not after(poses((580, 100))).believes(poses((620, 100)))
    assert after(poses((620, 100))).believes(poses((621, 100))), "the detector has seen and accepted that"


def test_what_the_detector_accepted_is_no_reason_to_ask_again() -> None:
    together = after(poses((100, 100), (110, 100)))
    assert together.believes(poses((101, 100), (111, 100)))


def test_nobody_is_asked_again_about_the_doubtful() -> None:
    doubtful = after(poses((100, 100), (300, 100), score=0.35))
    assert doubtful.believes(poses((100, 100), (110, 100), score=0.1))


def test_whom_the_detector_overlooks_is_carried_on_for_a_while() -> None:
    demand = after(poses((100, 100), (300, 100)))
    looks = 0
    while True:
        joined = demand.joined(boxes_of(poses((100, 100))))
        if len(joined) == 1:
            break
        looks += 1
        result = poses((100, 100), (300, 100), box_score=float(joined.scores[1]))
        assert len(demand.confirmed(result, 1)) == 2
        demand.take(result, detected=True)
    assert 1 <= looks <= 5


def test_who_only_seemed_overlooked_is_dropped() -> None:
    demand = after(poses((100, 100), (300, 100)))
    gone = poses((100, 100), (300, 100))
    scores = gone.scores.copy()
    scores[1] = 0.2
    assert len(demand.confirmed(replace(gone, scores=scores), 1)) == 1
    assert len(demand.confirmed(poses((100, 100), (102, 100)), 1)) == 1, "the same person twice"
    assert len(demand.confirmed(poses((100, 100), (102, 100)), 2)) == 2, "the detector's word counts"


def test_found_boxes_come_first_and_keep_their_labels() -> None:
    demand = after(replace(poses((100, 100)), labels=("dog",)))
    joined = demand.joined(Boxes(poses((300, 100)).boxes, [0.5], ("cat",)))
    assert joined.labels == ("cat", "dog")
    assert iou_matrix(joined.xyxy[1:], poses((100, 100)).boxes)[0, 0] > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_state_is_what_the_frames_say(seed: int) -> None:
    """Feeding the same frames to a new object gives the same decisions: this is what resuming relies on."""
    rng = np.random.default_rng(seed)
    first = Demand(3)
    frames: list[tuple[Poses, bool]] = []
    for number in range(20):
        people = poses(*[tuple(rng.uniform(50, 400, 2)) for _ in range(rng.integers(0, 4))], score=rng.uniform(0.3, 1))
        if number % 3 and frames:
            people = frames[-1][0]
        frames.append((people, number % 3 == 0))
        first.take(people, detected=number % 3 == 0)
        second = Demand(3)
        for old, detected in frames:
            second.take(old, detected=detected)
        one, other = first.expected(), second.expected()
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.xyxy, other.xyxy)
        assert first.believes(people) == second.believes(people)
