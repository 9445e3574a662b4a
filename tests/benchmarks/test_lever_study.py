"""The lever study runs at toy size, grows its results, and says no more than its numbers do."""

import json

import lever_study
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from levers import cost, scales, scoring, summary
from levers.arms import LEVERS, Lever, arms_of, config_of, order
from scipy import stats

from vitpose.data.readers.read import read_labelled


def run(monkeypatch, shared, out, *more):
    fixed = [
        "--data",
        str(shared / "data"),
        "--scale",
        "toy",
        "--seeds",
        "2",
        "--out",
        str(out / "runs"),
        "--threads",
        "1",
    ]
    monkeypatch.setattr("sys.argv", ["lever_study.py", *fixed, "--results", str(out), *more])
    lever_study.main()
    path = out / "lever_study_toy.json"
    return json.loads(path.read_text())["result"] if path.exists() else {}


def test_results_grow_and_nothing_is_run_twice(monkeypatch, shared, tmp_path, capsys):
    assert run(monkeypatch, shared, tmp_path, "--part", "codec", "--plan") == {}
    assert len(capsys.readouterr().out.splitlines()) == 5
    first = run(monkeypatch, shared, tmp_path, "--part", "codec")
    assert set(first["runs"]) == {"pretraining", "pre-trained", "MSRA codec"}
    assert [pair["arm"] for pair in first["comparisons"]] == ["pre-trained"]
    assert first["mean_pose"]["pck"] > 0
    run(monkeypatch, shared, tmp_path, "--part", "codec", "--plan")
    assert capsys.readouterr().out == ""
    # A second lever needs only what is new; testing in another way trains nothing.
    second = run(monkeypatch, shared, tmp_path, "--part", "flip")
    assert {name: second["runs"][name] for name in first["runs"]} == first["runs"]
    assert set(second["runs"]) - set(first["runs"]) == {"no flip test"}
    assert "steps" not in second["runs"]["no flip test"]["0"]
    # The numbers are those of the weights that were kept.
    assert second["arms"]["pre-trained"]["pck"]["seeds"] == 2


def test_a_lost_run_folder_is_made_again_only_where_it_is_needed(monkeypatch, shared, tmp_path, capsys):
    run(monkeypatch, shared, tmp_path, "--part", "codec")
    for path in (tmp_path / "runs").rglob("*.safetensors"):
        path.unlink()
    run(monkeypatch, shared, tmp_path, "--part", "codec", "--plan")
    assert capsys.readouterr().out == ""
    run(monkeypatch, shared, tmp_path, "--part", "decay", "--plan")
    assert capsys.readouterr().out.splitlines() == [
        "pretraining, seed 0",
        "layer decay 0.75, seed 0",
        "layer decay 0.75, seed 1",
    ]


@pytest.mark.slow
def test_every_lever_runs_and_its_cost_is_measured(monkeypatch, shared, tmp_path):
    result = run(monkeypatch, shared, tmp_path, "--seeds", "1")
    assert len(result["comparisons"]) == sum(len(lever.arms) for lever in LEVERS)
    assert {pair["verdict"] for pair in result["comparisons"]} == {"one seed: no verdict"}
    assert all(found["people_per_s"] > 0 for found in result["cost"].values())


@pytest.mark.parametrize("scale", scales.SCALES.values())
def test_every_arm_has_complete_settings_and_differs_from_its_baseline(scale, tmp_path):
    arms = arms_of(scale)
    weights = {name: tmp_path / name for name in arms}
    configs = {name: config_of(arm, scale, 0, tmp_path, weights) for name, arm in arms.items() if not arm.tests}
    for lever in LEVERS:
        for name in (lever.baseline, *lever.arms):
            assert name in arms
        for name in set(lever.arms) & set(configs):
            if lever.baseline in configs:
                assert configs[name] != configs[lever.baseline]
    alone = [configs[name] for name, arm in arms.items() if name in configs and not arm.others]
    assert len({(config.loop.batch_size, config.data.train) for config in alone if not is_masked(config)}) == 1
    for config in configs.values():
        assert config.data.train[0].first <= 9500
        assert config.data.validation[0].skip == 9500


def is_masked(config):
    return config.objective.kind == "masked"


def test_what_an_arm_rests_on_comes_before_it():
    arms = arms_of(scales.TOY)
    names = [arm.name for arm in order(arms, ["teacher's token", "no flip test"])]
    assert names == ["pretraining", "teacher", "token", "teacher's token", "pre-trained", "no flip test"]


@given(st.lists(st.integers(0, 35), max_size=30))
def test_counts_survive_being_written(counts):
    assert scoring.numbers(scoring.digits(np.array(counts, dtype=np.int64))).tolist() == counts


def test_the_labels_themselves_are_all_right_and_the_mean_pose_is_not(shared):
    folder = shared / "data" / "lspet"
    people = read_labelled("coco", folder / "annotations.json", folder / "images").for_training().select(slice(0, 60))
    truth = np.stack([record.keypoints for record in people.records])
    perfect = scoring.judge(truth, people)
    assert (perfect.pck, perfect.error) == (1.0, 0.0)
    assert 0 < perfect.counted.sum() < truth.shape[0] * truth.shape[1]
    guess = scoring.mean_pose(people, people)
    assert 0 < guess.pck < 0.3
    assert (guess.counted == perfect.counted).all()


LEVER = Lever("part", "question", "without", ("with",))


def runs_with(gains, rng):
    counted = np.full(200, 12)
    without = rng.integers(3, 8, (len(gains), 200))
    sides = {"without": without, "with": without + np.array(gains)[:, None]}
    runs = {
        name: {
            str(seed): {"pck": row.sum() / counted.sum(), "error": 0.1, "right": scoring.digits(row)}
            for seed, row in enumerate(rows)
        }
        for name, rows in sides.items()
    }
    return runs, scoring.digits(counted)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((2, 2, 2), "helps"),
        ((-2, -2, -2), "hurts"),
        ((0, 0, 0), "no difference seen"),
        ((3, -2, 1), "no difference seen"),
        ((2,), "one seed: no verdict"),
    ],
)
def test_a_verdict_needs_people_and_seeds_to_agree(gains, expected, rng):
    found = summary.compare(LEVER, "with", *runs_with(gains, rng))
    assert found is not None
    assert found["verdict"] == expected
    assert found["pck_difference"] == pytest.approx(np.mean(gains) / 12)
    low, high = found["interval_over_people"]
    assert low - 1e-9 <= found["pck_difference"] <= high + 1e-9


def test_many_comparisons_are_corrected_for(rng):
    assert summary.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert summary.holm([0.6, 0.9]) == [1.0, 1.0]
    assert summary.p_by_seeds([0.01]) is None
    assert summary.p_by_seeds([0.1, 0.2, 0.3]) == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue)
    runs, counted = runs_with((2, 1, 2), rng)
    one = summary.summarize([LEVER], runs, counted)["comparisons"][0]
    assert one["p_after_holm"] == pytest.approx(one["p_over_seeds"])
    both = summary.summarize([LEVER, LEVER], runs, counted)["comparisons"]
    assert [pair["p_after_holm"] for pair in both] == pytest.approx([2 * one["p_over_seeds"]] * 2)


def test_only_seeds_that_both_sides_have_are_compared(rng):
    runs, counted = runs_with((1, 1, 1), rng)
    del runs["with"]["1"]
    assert summary.compare(LEVER, "with", runs, counted)["seeds"] == 2
    assert summary.compare(LEVER, "with", {"without": runs["without"]}, counted) is None


def test_memory_of_a_step_grows_with_the_batch(tmp_path):
    config = config_of(arms_of(scales.CPU)["scratch"], scales.CPU, 0, tmp_path, {})
    few, many = (
        cost.measured(config, batch=batch, folder=tmp_path, cpu=True, steps=1)["memory_mib"] for batch in (8, 64)
    )
    assert torch.get_num_threads() >= 1
    assert many > 2 * few > 0
