"""A preset and the user's own words: his win, and what cannot be is refused."""

from dataclasses import replace

import numpy as np
import pytest

from vitpose.core.errors import UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.motion.preset import builtin_presets, keypoint_thresholds, load_preset
from vitpose.motion.settings import OFFLINE
from vitpose.pipeline.options import Threshold
from vitpose.pipeline.purpose import Wishes, combine

COCO17 = load_skeleton("coco17")


def test_nothing_said() -> None:
    purpose = combine(Wishes(), None, live=False)
    assert purpose.model is None
    assert purpose.tracker == "pose"
    assert purpose.formats == ("json", "overlay")
    assert purpose.smoothing is not None
    assert purpose.smoothing.method == "kalman"
    assert purpose.threshold(COCO17) == Threshold(0.3)
    assert not purpose.measured


@pytest.mark.parametrize("name", builtin_presets())
@pytest.mark.parametrize("live", [False, True])
def test_a_preset_is_taken_whole(name: str, live: bool) -> None:
    preset = load_preset(name)
    purpose = combine(Wishes(), preset, live=live)
    assert (purpose.model, purpose.tracker, purpose.max_people) == (preset.model, preset.tracker, preset.max_people)
    assert purpose.measured == ("motion" in preset.outputs)
    assert ("overlay" in purpose.formats) == ("video" in preset.outputs)
    later = preset.offline.method != "none" and not live
    assert purpose.smoothing == (preset.offline if later else preset.online)
    threshold = purpose.threshold(COCO17)
    assert isinstance(threshold, Threshold)
    np.testing.assert_allclose(threshold.of(COCO17), keypoint_thresholds(COCO17, preset.threshold), atol=1e-6)


def test_the_users_words_win() -> None:
    preset = load_preset("fitness")
    said = Wishes(
        model="vitpose-s",
        threshold={"left_wrist": 0.9},
        tracker="pose",
        max_people=4,
        smoothing="online",
        formats=("csv",),
    )
    purpose = combine(said, preset, live=False)
    assert (purpose.model, purpose.max_people, purpose.formats) == ("vitpose-s", 4, ("csv",))
    assert purpose.smoothing == preset.online
    assert not purpose.measured
    values = np.asarray(purpose.threshold(COCO17).of(COCO17))  # type: ignore[union-attr]
    expected = keypoint_thresholds(COCO17, preset.threshold).copy()
    expected[COCO17.index("left_wrist")] = 0.9
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_one_threshold_for_all_replaces_the_table() -> None:
    purpose = combine(Wishes(threshold=0.7), load_preset("fitness"), live=False)
    assert purpose.threshold(COCO17) == Threshold(0.7)
    named = combine(Wishes(threshold={"*": 0.6, "nose": 0.2}), load_preset("fitness"), live=False)
    assert named.threshold(COCO17) == Threshold(0.6, (("nose", 0.2),))


def test_a_keypoint_that_is_not_there() -> None:
    purpose = combine(Wishes(threshold={"left_rist": 0.5}), None, live=False)
    with pytest.raises(UsageError, match="left_wrist"):
        purpose.threshold(COCO17)


def test_smoothing_words() -> None:
    assert combine(Wishes(smoothing="none"), None, live=False).smoothing is None
    offline = combine(Wishes(smoothing="offline"), None, live=False).smoothing
    assert offline is not None
    assert offline.method in OFFLINE
    mocap = load_preset("mocap")
    assert combine(Wishes(smoothing="rts"), mocap, live=False).smoothing == mocap.offline  # as the preset tunes it
    assert combine(Wishes(tracker="none"), None, live=False).smoothing is None
    with pytest.raises(UsageError, match="follows each person"):
        combine(Wishes(tracker="none", smoothing="online"), None, live=False)
    with pytest.raises(UsageError, match="kalman"):
        combine(Wishes(smoothing="kalmann"), None, live=False)


def test_formats() -> None:
    assert combine(Wishes(formats=()), None, live=False).formats == ()
    purpose = combine(Wishes(formats=("json", "motion")), None, live=False)
    assert purpose.measured
    assert purpose.formats == ("json",)
    with pytest.raises(UsageError, match="json,motion"):
        combine(Wishes(formats=("motion",)), None, live=False)
    with pytest.raises(UsageError, match="overlay"):
        combine(Wishes(formats=("overlays",)), None, live=False)


def test_a_presets_limit_belongs_to_its_tracker() -> None:
    preset = replace(load_preset("fitness"), max_people=1)
    assert combine(Wishes(), preset, live=False).max_people == 1
    assert combine(Wishes(tracker="bytetrack"), preset, live=False).max_people is None
