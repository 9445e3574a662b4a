import contextlib
import copy
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_people import SIGMAS, people, perfect, perturbed

from vitpose.core.errors import InputError
from vitpose.core.skeleton import load_skeleton
from vitpose.metrics.coco import (
    aic_score,
    evaluate_by_category,
    evaluate_crowdpose,
    evaluate_keypoints,
    evaluate_wholebody,
)
from vitpose.metrics.matching import match
from vitpose.metrics.table import build_table


def pycoco(truth: dict[str, Any], found: list[dict[str, Any]], sigmas: np.ndarray = SIGMAS) -> Any:
    """The same evaluation by pycocotools, the reference implementation; returns its evaluator."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        labels = coco.COCO()
        labels.dataset = copy.deepcopy(truth)
        labels.createIndex()
        evaluation = cocoeval.COCOeval(labels, labels.loadRes(copy.deepcopy(found)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def ten(numbers: Any) -> np.ndarray:
    """Our numbers as pycocotools writes them: -1 for undefined."""
    return np.nan_to_num(list(numbers.to_dict().values()), nan=-1.0)


def one_based(truth: dict[str, Any]) -> dict[str, Any]:
    moved = copy.deepcopy(truth)
    for number, entry in enumerate(moved["annotations"], 1):
        entry["id"] = number
    return moved


def load(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_pycocotools_on_6352_real_people(shared: Path, seed: int) -> None:
    truth = load(shared / "data/coco_labels/person_keypoints_val2017.json.gz")
    found = perturbed(truth, seed=seed)
    assert len(truth["annotations"]) == 6352
    assert len(found) > 9000
    ours = ten(evaluate_keypoints(truth, found, sigmas=SIGMAS))
    np.testing.assert_allclose(ours, pycoco(truth, found).stats, atol=1e-12)
    assert 0.1 < ours[0] < 0.9


def test_equals_pycocotools_with_crowds_and_people_without_keypoints(shared: Path) -> None:
    truth = load(shared / "data/coco/person_keypoints_val.json")
    crowds = sum(entry["iscrowd"] for entry in truth["annotations"])
    bare = sum(entry["num_keypoints"] == 0 for entry in truth["annotations"])
    assert crowds > 0
    assert bare > 0
    found = perturbed(truth, seed=2)
    np.testing.assert_allclose(
        ten(evaluate_keypoints(truth, found, sigmas=SIGMAS)), pycoco(truth, found).stats, atol=1e-12
    )


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_on_made_up_people(seed: int) -> None:
    truth = one_based(people(40, seed=seed))
    rng = np.random.default_rng(seed)
    for entry in truth["annotations"]:
        entry["iscrowd"] = int(rng.random() < 0.15)
        if rng.random() < 0.15:
            entry["keypoints"], entry["num_keypoints"] = [0] * 51, 0
    found = perturbed(truth, seed=seed, most=6)
    np.testing.assert_allclose(
        ten(evaluate_keypoints(truth, found, sigmas=SIGMAS)), pycoco(truth, found).stats, atol=1e-12
    )


def test_perfect_predictions_score_one_and_annotation_zero_counts() -> None:
    truth = people(12)
    assert truth["annotations"][0]["id"] == 0
    numbers = evaluate_keypoints(truth, perfect(truth), sigmas=SIGMAS)
    assert numbers.ap == pytest.approx(1.0)
    assert numbers.ar == pytest.approx(1.0)
    # pycocotools takes the person with id 0 for unmatched.
    assert pycoco(truth, perfect(truth)).stats[0] < 1


def test_no_predictions_score_zero_and_nobody_to_find_is_undefined() -> None:
    truth = people(5)
    assert evaluate_keypoints(truth, [], sigmas=SIGMAS).ap == 0
    nobody = {**truth, "annotations": []}
    assert math.isnan(evaluate_keypoints(nobody, perfect(truth), sigmas=SIGMAS).ap)


def test_one_person_with_one_keypoint() -> None:
    truth = people(1, keypoints=1, images=1, seed=3)
    truth["annotations"][0].update(keypoints=[60, 60, 2], num_keypoints=1)
    numbers = evaluate_keypoints(truth, perfect(truth), sigmas=[0.05])
    assert numbers.ap == pytest.approx(1.0)


def test_order_of_labels_and_kind_of_ids_do_not_matter() -> None:
    truth = people(30, seed=4)
    found = perturbed(truth, seed=4)
    for number, entry in enumerate(found):
        entry["score"] = 1 / (1 + number)
    before = evaluate_keypoints(truth, found, sigmas=SIGMAS)
    renamed = copy.deepcopy(truth)
    renamed["annotations"].reverse()
    for entry in [*renamed["annotations"], *renamed["images"]]:
        key = "image_id" if "image_id" in entry else "id"
        entry[key] = f"picture {entry[key]}"
    moved = [{**entry, "image_id": f"picture {entry['image_id']}"} for entry in reversed(found)]
    assert evaluate_keypoints(renamed, moved, sigmas=SIGMAS) == before


def test_area_falls_back_to_053_of_the_box() -> None:
    truth = people(20, seed=5)
    found = perturbed(truth, seed=5)
    without = copy.deepcopy(truth)
    for entry in without["annotations"]:
        del entry["area"]
    filled = copy.deepcopy(truth)
    for entry in filled["annotations"]:
        entry["area"] = 0.53 * entry["bbox"][2] * entry["bbox"][3]
    expected = evaluate_keypoints(filled, found, sigmas=SIGMAS)
    assert evaluate_keypoints(without, found, sigmas=SIGMAS) == expected
    assert evaluate_keypoints(truth, found, sigmas=SIGMAS, area="box") == expected
    assert evaluate_keypoints(truth, found, sigmas=SIGMAS) != expected


def test_only_the_twenty_best_of_a_picture_count() -> None:
    truth = people(1, images=1, seed=6)
    right = perfect(truth)[0]
    wrong = [{**right, "keypoints": [0.0] * 51, "score": 2.0 + i} for i in range(20)]
    assert evaluate_keypoints(truth, [*wrong[:19], right], sigmas=SIGMAS).ar == pytest.approx(1.0)
    assert evaluate_keypoints(truth, [*wrong, right], sigmas=SIGMAS).ar == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "picture 99, which the labels do not list"),
        ({"keypoints": [1, 2, 3]}, "3 keypoint numbers, and the skeleton needs 3 x 17"),
        ({"keypoints": None}, "no keypoints"),
        ({"keypoints": [math.nan] * 51}, "not a finite number"),
    ],
)
def test_bad_results_are_named(change: dict[str, Any], message: str) -> None:
    truth = people(2)
    found = perfect(truth)
    found[1] |= change
    with pytest.raises(InputError, match=message):
        evaluate_keypoints(truth, found, sigmas=SIGMAS)


def test_result_without_score_is_named() -> None:
    truth = people(2)
    found = perfect(truth)
    del found[1]["score"]
    with pytest.raises(InputError, match="result 1 has no score"):
        evaluate_keypoints(truth, found, sigmas=SIGMAS)


def test_species_are_matched_apart_and_averaged() -> None:
    truth = one_based(people(40, seed=7))
    truth["categories"] = [{"id": 3, "name": "cow"}, {"id": 8, "name": "fox"}, {"id": 9, "name": "yak"}]
    for number, entry in enumerate(truth["annotations"]):
        entry["category_id"] = 3 if number % 4 else 8
    found = perturbed(truth, seed=7)
    numbers = evaluate_by_category(truth, found, sigmas=SIGMAS)
    assert set(numbers) == {"mean", "cow", "fox"}
    np.testing.assert_allclose(ten(numbers["mean"]), pycoco(truth, found).stats, atol=1e-12)
    assert numbers["mean"].ap == pytest.approx((numbers["cow"].ap + numbers["fox"].ap) / 2)


def test_wholebody_example(shared: Path) -> None:
    folder = shared / "data/annotations"
    truth, found = load(folder / "wholebody_example_gt.json.gz"), load(folder / "wholebody_example_pred.json.gz")
    sigmas = load_skeleton("wholebody133").sigma_array
    numbers = evaluate_wholebody(truth, found, sigmas=sigmas)
    assert set(numbers) == {"body", "foot", "face", "left_hand", "right_hand", "whole", "hands"}
    assert numbers["hands"].ap == pytest.approx((numbers["left_hand"].ap + numbers["right_hand"].ap) / 2)
    # The parts by hand through pycocotools.
    for part, field, score, where in (
        ("body", "keypoints", "body_score", slice(0, 17)),
        ("foot", "foot_kpts", "foot_score", slice(17, 23)),
        ("face", "face_kpts", "face_score", slice(23, 91)),
        ("right_hand", "righthand_kpts", "righthand_score", slice(112, 133)),
    ):
        labels = copy.deepcopy(truth)
        for entry in labels["annotations"]:
            entry["keypoints"] = entry[field]
            entry["num_keypoints"] = sum(value > 0 for value in entry[field][2::3])
        moved = [{**entry, "keypoints": entry[field], "score": entry[score]} for entry in found]
        assert numbers[part].ap == pytest.approx(pycoco(labels, moved, sigmas[where]).stats[0], abs=1e-9)
    # Ranked by the one score of the whole person, as pycocotools has it.
    plain = [{key: value for key, value in entry.items() if not key.endswith("_score")} for entry in found]
    assert evaluate_wholebody(truth, plain, sigmas=sigmas)["body"].ap == pytest.approx(0.8539, abs=5e-5)


def test_wholebody_in_one_array_equals_apart(shared: Path) -> None:
    folder = shared / "data/annotations"
    truth, found = load(folder / "wholebody_example_gt.json.gz"), load(folder / "wholebody_example_pred.json.gz")
    sigmas = load_skeleton("wholebody133").sigma_array
    fields = ("keypoints", "foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")

    def joined(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "keypoints": [value for field in fields for value in entry[field]]}

    together = {**truth, "annotations": [joined(entry) for entry in truth["annotations"]]}
    assert evaluate_wholebody(together, [joined(entry) for entry in found], sigmas=sigmas) == evaluate_wholebody(
        truth, found, sigmas=sigmas
    )


def test_crowdpose_validation_labels(shared: Path) -> None:
    truth = load(shared / "data/annotations/crowdpose_val.json.gz")
    sigmas = load_skeleton("crowdpose14").sigma_array
    found = perturbed(truth, seed=8, most=2)
    numbers = evaluate_crowdpose(truth, found, sigmas=sigmas)
    assert set(numbers) == {"ap", "ap50", "ap75", "ar", "ar50", "ar75", "ap_easy", "ap_medium", "ap_hard"}
    filled = one_based(truth)
    for entry in filled["annotations"]:
        entry["area"] = 0.53 * entry["bbox"][2] * entry["bbox"][3]
        entry.setdefault("iscrowd", 0)
    everything = pycoco(filled, found, sigmas)
    names = ["ap", "ap50", "ap75", "ar", "ar50", "ar75"]
    np.testing.assert_allclose([numbers[n] for n in names], everything.stats[[0, 1, 2, 5, 6, 7]], atol=1e-12)
    hard = {entry["id"] for entry in truth["images"] if entry["crowdIndex"] >= 0.8}
    part = {**filled, "images": [entry for entry in filled["images"] if entry["id"] in hard]}
    part["annotations"] = [entry for entry in filled["annotations"] if entry["image_id"] in hard]
    mine = [entry for entry in found if entry["image_id"] in hard]
    assert numbers["ap_hard"] == pytest.approx(pycoco(part, mine, sigmas).stats[0], abs=1e-12)


def test_crowdpose_needs_the_crowd_index() -> None:
    truth = people(2)
    with pytest.raises(InputError, match="no crowdIndex"):
        evaluate_crowdpose(truth, [], sigmas=SIGMAS)


def test_aic_score_by_hand() -> None:
    truth = people(1, keypoints=2, images=2, seed=9)
    truth["annotations"][0].update(keypoints=[60, 60, 2, 90, 90, 1], bbox=[50, 50, 100, 100], image_id=0)
    sigmas = [0.05, 0.05]

    def score(*points: tuple[float, float]) -> float:
        found = [
            {"image_id": 0, "keypoints": [x, y, 1, 0, 0, 1], "score": 0.1 * n} for n, (x, y) in enumerate(points, 1)
        ]
        return aic_score(truth, found, sigmas=sigmas)

    assert score((60, 60)) == 1.0  # the hidden point does not count
    # exp(-d^2 / (2 * 100^2 * 0.1^2)) = 0.72: above 0.5, 0.55, 0.6, 0.65, 0.7
    assert score((60 + 10 * math.sqrt(-2 * math.log(0.72)), 60)) == pytest.approx(0.5)
    assert score((60, 60), (300, 300)) == 0.5  # one person, two predictions
    assert score() == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_matches_give_the_same_average_precision(seed: int) -> None:
    truth = people(60, images=6, seed=seed)
    rng = np.random.default_rng(seed)
    truth["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    for entry in truth["annotations"]:
        entry["iscrowd"] = int(rng.random() < 0.15)
        entry["category_id"] = int(rng.integers(1, 3))
    found = perturbed(truth, seed=seed, most=5)
    table = build_table(truth, found, sigmas=SIGMAS)
    expected = evaluate_keypoints(truth, found, sigmas=SIGMAS).ap
    assert match(table).average_precision() == pytest.approx(expected, abs=1e-12)


def test_weights_of_matches_equal_repeating_pictures() -> None:
    truth = people(30, images=3, seed=1)
    found = perturbed(truth, seed=1)
    for number, entry in enumerate(found):
        entry["score"] = 1 / (2 + number)
    weights = np.array([2, 0, 1])
    matches = match(build_table(truth, found, sigmas=SIGMAS))
    copies = [(image, f"{image}.{n}") for image, times in enumerate(weights) for n in range(times)]
    repeated = {
        "images": [{"id": name} for _, name in copies],
        "annotations": [
            {**e, "image_id": name} for image, name in copies for e in truth["annotations"] if e["image_id"] == image
        ],
    }
    again = [{**e, "image_id": name} for image, name in copies for e in found if e["image_id"] == image]
    expected = evaluate_keypoints(repeated, again, sigmas=SIGMAS).ap
    assert matches.average_precision(weights) == pytest.approx(expected, abs=1e-12)
    assert matches.average_precision(weights) != pytest.approx(matches.average_precision(), abs=1e-6)


@pytest.mark.parametrize(
    ("file", "skeleton"),
    [
        ("coco/test_coco.json", "coco17"),
        ("ochuman/test_ochuman.json", "coco17"),
        ("ap10k/test_ap10k.json", "ap10k17"),
        ("aic/test_aic.json", "aic14"),
        ("humanart/test_humanart.json", "humanart17"),
    ],
)
def test_equals_pycocotools_on_files_of_other_sets(shared: Path, file: str, skeleton: str) -> None:
    truth = load(shared / "data/formats" / file)
    truth["annotations"] = [entry for entry in truth["annotations"] if "bbox" in entry]
    sigmas = load_skeleton(skeleton).sigma_array
    found = perturbed(truth, seed=9)
    filled = one_based(truth)
    for entry in filled["annotations"]:
        entry.setdefault("area", 0.53 * entry["bbox"][2] * entry["bbox"][3])
        entry.setdefault("iscrowd", 0)
        entry.setdefault("num_keypoints", sum(value > 0 for value in entry["keypoints"][2::3]))
    assert len(found) > 0
    np.testing.assert_allclose(
        ten(evaluate_keypoints(truth, found, sigmas=sigmas)), pycoco(filled, found, sigmas).stats, atol=1e-12
    )
