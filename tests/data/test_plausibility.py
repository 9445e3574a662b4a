"""What the labels of a set say about each other, without pictures."""

import numpy as np
import pytest

from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.plausibility import Poses, edge_excess, swap_groups, swap_odds
from vitpose.data.readers.read import read_labelled

COCO = load_skeleton("coco17")


@pytest.fixture(scope="module")
def real(shared):
    labelled = read_labelled("coco", shared / "data/coco/person_keypoints_train.json").for_training()
    xy = np.stack([record.keypoints for record in labelled.records]).astype(np.float64)
    return Poses(xy, np.stack([record.visibility for record in labelled.records]) > 0)


def swapped(poses, rows, pairs):
    xy, labelled = poses.xy.copy(), poses.labelled.copy()
    for left, right in pairs:
        for array in (xy, labelled):
            array[np.ix_(rows, [left, right])] = array[np.ix_(rows, [right, left])]
    return Poses(xy, labelled)


@pytest.mark.parametrize(
    ("group", "recall"), [("left_knee / right_knee", 0.4), ("the lower body", 0.4), ("the whole body", 0.3)]
)
def test_what_changed_sides_is_found(real, group, recall):
    rng = np.random.default_rng(0)
    groups = swap_groups(COCO)
    pairs = np.array([[COCO.index(name) for name in COCO.flip_pairs[index]] for index in groups[group]])
    whole = np.flatnonzero(real.labelled[:, pairs].all(axis=2).sum(axis=1) >= min(len(pairs), 2))
    rows = rng.choice(whole, 200, replace=False)
    odds = swap_odds(swapped(real, rows, pairs), COCO)
    worst = np.fmin.reduce(odds, axis=1)
    untouched = np.setdiff1d(np.arange(len(worst)), rows)
    print(f"recall {np.mean(worst[rows] < -2):.2f}, alarms {np.mean(worst[untouched] < -2):.4f}")
    assert np.mean(worst[rows] < -2) >= recall
    assert np.mean(worst[untouched] < -2) <= 0.03


def test_odds_change_their_sign_with_the_sides(real):
    """What the model says of a pair is the opposite of what it would say of the pair exchanged."""
    some = Poses(real.xy[:300], real.labelled[:300])
    knees = [(COCO.index("left_knee"), COCO.index("right_knee"))]
    column = list(swap_groups(COCO)).index("left_knee / right_knee")
    odds = swap_odds(some, COCO)[:, column]
    mirrored = swap_odds(swapped(some, np.arange(300), knees), COCO)[:, column]
    # Exchanging everybody's knees makes a set whose usual side is the other one: the same odds are learnt.
    np.testing.assert_allclose(mirrored, odds, atol=1e-6)


def test_faces_and_hands_are_quick_enough(rng):
    skeleton = load_skeleton("wholebody133")
    poses = Poses(rng.normal(size=(80, 133, 2)) * 50, rng.random((80, 133)) < 0.9)
    assert set(swap_groups(skeleton)) == {f"{left} / {right}" for left, right in skeleton.flip_pairs}
    assert swap_odds(poses, skeleton).shape == (80, len(skeleton.flip_pairs))


def test_what_is_too_long_is_found(real):
    xy = real.xy.copy()
    elbow, wrist = COCO.index("left_elbow"), COCO.index("left_wrist")
    whole = np.flatnonzero(real.labelled[:, [elbow, wrist]].all(axis=1) & (real.labelled.sum(axis=1) >= 10))[:50]
    xy[whole, wrist] = xy[whole, elbow] + 12 * (xy[whole, wrist] - xy[whole, elbow] + 1)
    before = np.fmax.reduce(edge_excess(real, COCO), axis=1)
    after = np.fmax.reduce(edge_excess(Poses(xy, real.labelled), COCO), axis=1)
    assert np.mean(after[whole] > 4) > 0.9
    assert np.mean(before > 4) < 0.005


def test_size_does_not_matter(real):
    some = Poses(real.xy[:300], real.labelled[:300])
    larger = Poses(some.xy * np.linspace(3, 20, 300)[:, None, None], some.labelled)
    np.testing.assert_allclose(edge_excess(larger, COCO), edge_excess(some, COCO), atol=1e-6)
    np.testing.assert_allclose(swap_odds(larger, COCO), swap_odds(some, COCO), atol=1e-6)


def test_too_few_people_are_not_judged():
    poses = Poses(np.zeros((10, 17, 2)), np.ones((10, 17), dtype=bool))
    assert np.isnan(swap_odds(poses, COCO)).all()
    assert np.isnan(edge_excess(poses, COCO)).all()
    worm = Skeleton("worm", ("head", "tail"))
    assert swap_odds(Poses(np.zeros((60, 2, 2)), np.ones((60, 2), dtype=bool)), worm).shape == (60, 0)
    nobody = Poses(np.zeros((0, 17, 2)), np.zeros((0, 17), dtype=bool))
    assert swap_odds(nobody, COCO).shape == (0, len(swap_groups(COCO)))
    assert edge_excess(nobody, COCO).shape == (0, len(COCO.edges))
