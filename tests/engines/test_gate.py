import json

import numpy as np
import pytest
from tiny_models import tiny_crops

from vitpose.codec.codec import Codec
from vitpose.core.errors import GateError, UsageError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import FakeEngine
from vitpose.engines.gate import Found, Limits, compare, excess, judge

SKELETON = Skeleton(name="four", keypoints=("a", "b", "c", "d"))
PLACES = [(0.3, 0.3), (0.6, 0.4), (0.5, 0.7), (0.4, 0.5)]
CROPS = np.zeros((10, 256, 192, 3), dtype=np.uint8)


def moved(keypoint: int, heatmap_pixels: float) -> FakeEngine:
    places = list(PLACES)
    places[keypoint] = (places[keypoint][0] + heatmap_pixels / 47, places[keypoint][1])
    return FakeEngine(places)


def report(engine, **settings):
    return compare(FakeEngine(PLACES), engine, CROPS, skeleton=SKELETON, codec=Codec(), **settings)


def test_the_same_engine_passes_with_nothing_moved():
    same = report(FakeEngine(PLACES))
    assert same.passed
    assert same.check() is same
    assert (same.p50, same.p99, same.max) == (0, 0, 0)
    assert same.oks.first == same.oks.second == 1
    assert excess(same, Limits()) <= 0
    assert (same.crops, same.counted, same.all_counted) == (10, 40, False)


@pytest.mark.parametrize("shift", [0.1, 0.5, 2.0])
def test_shifts_are_in_heatmap_pixels_and_belong_to_their_keypoint(shift):
    found = report(moved(2, shift))
    worst = found.worst(1)[0]
    assert worst.keypoint == "c"
    # The crop is not a whole multiple of the heatmap, so a heatmap pixel here is 191/47 and there 192/48 crop pixels.
    assert worst.p50 == pytest.approx(shift, rel=0.03)
    assert found.max == pytest.approx(shift, rel=0.03)
    assert found.p50 == pytest.approx(0, abs=1e-3)
    assert found.passed == (shift < 0.25)


def test_one_bad_keypoint_of_many_fails_and_is_named():
    found = report(moved(1, 0.6), limits=Limits(p99=9, oks=1))
    assert not found.passed
    with pytest.raises(GateError, match=r"median is above 0.25 heatmap pixels for b; worst keypoints: b \(median 0.6"):
        found.check()


def test_each_limit_counts():
    found = report(moved(0, 4.0))
    assert len(found.failures) == 3
    assert found.oks.high < 0
    assert excess(found, Limits()) > 1
    assert report(moved(0, 4.0), limits=Limits(p50=99, p99=99, keypoint_p50=99, oks=1)).passed


def test_labels_decide_where_they_are_given():
    labels = np.array(PLACES)[None].repeat(10, axis=0) * [191, 255]
    labels[:, 0, 0] += 4.0 * 191 / 47
    visible = np.ones((10, 4), dtype=int)
    found = report(moved(0, 4.0), truth=(labels, visible))
    assert found.against_labels
    assert found.oks.difference > 0  # it moved towards the truth
    visible[:, 0] = 0
    assert report(moved(0, 4.0), truth=(labels, visible)).oks.difference == pytest.approx(0, abs=1e-6)


class Faint(FakeEngine):
    def __call__(self, crops):
        return super().__call__(crops) * 0.01


class Broken(FakeEngine):
    def __call__(self, crops):
        return np.full_like(super().__call__(crops), np.nan)


def test_unsure_keypoints_do_not_count_unless_nothing_else_is_there():
    found = compare(Faint(PLACES), Faint(PLACES), CROPS, skeleton=SKELETON, codec=Codec())
    assert found.all_counted
    assert "hardly sure of any" in found.summary


def test_keypoints_the_reference_never_saw_are_named_and_cannot_be_most():
    expected = Found(np.zeros((32, 4, 2)) + 10, np.full((32, 4), 0.9))
    sizes = Size(64, 48), Size(16, 12)

    def judged(unsure):
        scores, points = expected.scores.copy(), expected.xy.copy()
        scores[:, :unsure], points[:, :unsure] = 0.1, 90
        return judge(Found(expected.xy, scores), Found(points, scores), ("x", "y"), sizes=sizes, skeleton=SKELETON)

    few, most = judged(1), judged(3)
    assert few.passed
    assert "not compared, for the reference was sure of none: a" in few.summary
    assert not most.passed


@pytest.mark.parametrize("limit", ["p50", "p99", "keypoint_p50", "oks"])
def test_no_report_is_near_a_limit_of_zero(limit):
    assert excess(report(FakeEngine(PLACES)), Limits(**{limit: 0.0})) == np.inf


def test_an_engine_that_answers_nonsense_fails():
    assert not report(Broken(PLACES)).passed


def test_no_crops_is_an_error():
    with pytest.raises(UsageError, match="needs crops"):
        compare(FakeEngine(PLACES), FakeEngine(PLACES), CROPS[:0], skeleton=SKELETON, codec=Codec())


def test_reports_are_plain_data():
    plain = json.loads(json.dumps(report(moved(0, 1.0)).to_dict()))
    assert plain["passed"] is False
    assert plain["keypoints"][0]["keypoint"] == "a"


def test_sizes_come_from_the_engine():
    small = FakeEngine(PLACES, input_size=Size(64, 48), heatmap_size=Size(16, 12), codec=Codec(sigma=1))
    found = compare(small, small, tiny_crops(3), skeleton=SKELETON, codec=Codec(sigma=1.0, decode_sigma=1.0))
    assert found.passed
