from importlib import resources

import numpy as np
import pytest

from vitpose.core.errors import InputError, UsageError
from vitpose.core.skeleton import builtin_skeletons, load_skeleton
from vitpose.motion.preset import builtin_presets, keypoint_thresholds, load_preset
from vitpose.weights.catalog import find_model

USE_CASES = {"sports", "fitness", "mocap", "ar_vr", "surveillance", "healthcare"}


def test_the_six_use_cases_are_there() -> None:
    assert set(builtin_presets()) == USE_CASES


@pytest.mark.parametrize("name", sorted(USE_CASES))
def test_every_preset_can_be_loaded(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.title
    assert preset.why
    assert 0.3 <= preset.threshold <= 0.6
    assert preset.outputs


@pytest.mark.parametrize("name", sorted(USE_CASES))
def test_models_of_presets_are_in_the_catalogue(name: str) -> None:
    row = find_model(load_preset(name).model)
    assert "coco" in {head.dataset for head in row.heads}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("threshold", "treshold"), "unknown key 'treshold'.*'threshold'"),
        (('"kalman"', '"kalmann"'), "unknown method 'kalmann'.*'kalman'"),
        (('"butterworth"', '"one_euro"'), "offline: unknown method 'one_euro'"),
        (("0.4", "4"), "threshold is 4"),
        (('"json"', '"jsn"'), "unknown output 'jsn'.*'json'"),
        (("gaps_s = 0.5", ""), "gaps_s is missing"),
        (("gaps_s = 0.5", "gaps_s = nan"), "gaps_s is a number, not nan"),
        (("max_people = 1", 'max_people = "two"'), "max_people is a whole number from 1 on, not 'two'"),
        (("max_people = 1", "max_people = 0"), "max_people is a whole number from 1 on, not 0"),
        (("repair = true", 'repair = "no"'), "repair is true or false, not 'no'"),
        (('tracker = "pose"', "tracker = 3"), "tracker is a text in quotes, not 3"),
        (("cutoff_hz = 5.0", 'cutoff_hz = "five"'), "offline: cutoff_hz is a number, not 'five'"),
        (("cutoff_hz = 5.0", "cutoff_hz = 0"), "offline: smoothing cutoff_hz is 0: give a number above 0"),
        (("cutoff_hz = 5.0", "order = 2.5"), "offline: order is a whole number, not 2.5"),
        (('["json", "video", "motion"]', "3"), "outputs is a list such as .*, not 3"),
        (("title =", "title"), "not valid TOML"),
    ],
)
def test_a_wrong_preset_says_what_is_wrong(change: tuple[str, str], message: str, tmp_path) -> None:
    text = resources.files("vitpose").joinpath("motion", "presets", "fitness.toml").read_text()
    assert change[0] in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(*change, 1))
    with pytest.raises(InputError, match=message):
        load_preset(path)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'fitness'"):
        load_preset("fitnes")


@pytest.mark.parametrize("name", builtin_skeletons())
def test_thresholds_by_keypoint(name: str) -> None:
    skeleton = load_skeleton(name)
    table = keypoint_thresholds(skeleton, 0.4)
    assert table.shape == (len(skeleton),)
    assert ((table > 0.2) & (table < 0.6)).all()
    np.testing.assert_array_equal(table, table[skeleton.flip_indices])


def test_hips_need_less_than_noses() -> None:
    skeleton = load_skeleton("coco17")
    table = keypoint_thresholds(skeleton, 0.5)
    assert table[skeleton.index("left_hip")] < 0.5 < table[skeleton.index("nose")]
