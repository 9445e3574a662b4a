"""An estimator over a labelled set: the numbers, their protocol and the comparison of two."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import CONTEXT, Size, xyxy_to_xywh
from vitpose.core.poses import Boxes
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import ImageEntry, LabelledSet
from vitpose.engines.base import FakeEngine
from vitpose.evaluation.boxes import boxes_from_file
from vitpose.evaluation.people import coco_labels, gather, labelled_boxes, pictures_of
from vitpose.evaluation.run import compare, evaluate
from vitpose.metrics.calibration import Calibration
from vitpose.metrics.coco import evaluate_crowdpose, evaluate_keypoints
from vitpose.models.variants import COCO_HEAD
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head

Make = Callable[..., Any]


def test_what_is_right_scores_one(labelled: LabelledSet, make_oracle: Make) -> None:
    result = evaluate(make_oracle(labelled), labelled)
    for name in ("ap", "ap50", "ar", "mean_oks", "found", "pck@0.05", "pck_torso@0.2"):
        assert result.numbers[name] == pytest.approx(1.0), name
    assert result.numbers["epe_px"] == pytest.approx(0, abs=1e-4)
    assert all(row.right == row.pck == 1 for row in result.keypoints)
    assert sum(row.points for row in result.keypoints) == sum(record.labelled for record in labelled.records)


def test_more_noise_is_worse_everywhere(labelled: LabelledSet, make_oracle: Make) -> None:
    good, bad = (evaluate(make_oracle(labelled, noise), labelled) for noise in (0.03, 0.12))
    for name in ("ap", "ar", "mean_oks", "pck@0.05", "pck@0.1", "auc@30px"):
        assert good.numbers[name] > bad.numbers[name], name
    assert good.numbers["epe_px"] < bad.numbers["epe_px"]


def test_ap_is_what_the_written_predictions_score(real_people: LabelledSet, make_oracle: Make, shared: Path) -> None:
    result = evaluate(make_oracle(real_people, 0.05), real_people)
    truth = json.loads((shared / "data/coco/person_keypoints_val.json").read_text())
    written = json.loads(json.dumps(result.predictions))
    sigmas = load_skeleton("coco17").sigma_array
    expected = evaluate_keypoints(truth, written, sigmas=sigmas).to_dict()
    assert {name: result.numbers[name] for name in expected} == pytest.approx(expected)
    assert 0.2 < result.numbers["ap"] < 0.9
    assert result.matches.average_precision() == pytest.approx(result.numbers["ap"])
    # Crowds and people without keypoints are not looked for.
    assert len(result.people) == sum(not r.crowd and r.labelled > 0 for r in real_people.records)
    assert len(result.people) < len(real_people.records)
    assert result.numbers["mean_oks"] == pytest.approx(result.people.oks.mean())


def test_breakdowns_and_rows_hold_everybody_once(real_people: LabelledSet, make_oracle: Make) -> None:
    result = evaluate(make_oracle(real_people, 0.05), real_people)
    for parts in result.breakdowns.values():
        assert sum(part.people for part in parts) == len(result.people)
        weighted = sum(part.mean * part.people for part in parts if part.people) / len(result.people)
        assert weighted == pytest.approx(result.numbers["mean_oks"])
    by_points = np.average(
        [row.similarity for row in result.keypoints], weights=[row.points for row in result.keypoints]
    )
    assert by_points == pytest.approx(np.nanmean(result.people.similarity))


def test_calibration_is_judged_on_unseen_pictures_and_helps(real_people: LabelledSet, make_oracle: Make) -> None:
    result = evaluate(make_oracle(real_people, 0.06), real_people)
    confidence = result.confidence
    assert confidence is not None
    for name in ("mass", "width", "keypoint"):
        before, after = (confidence.errors[f"calibration_error_{name}_{side}"] for side in ("before", "after"))
        assert after < before / 2, name
    assert Calibration.from_dict(json.loads(json.dumps(confidence.calibration.to_dict()))) == confidence.calibration
    assert confidence.calibration.keypoints == real_people.skeleton.keypoints


def test_random_scores_cannot_be_calibrated_into_knowledge(labelled: LabelledSet, make_oracle: Make) -> None:
    oracle = make_oracle(labelled, 0.06)
    known = oracle.stream

    def unsure(images: Any, *, boxes: Any = None) -> Any:
        for poses in known(images, boxes=boxes):
            rng = np.random.default_rng(len(poses))
            yield replace(poses, scores=rng.random(poses.scores.shape))

    oracle.stream = unsure
    confidence = evaluate(oracle, labelled).confidence
    share = evaluate(oracle, labelled).people.right[evaluate(oracle, labelled).people.counted].mean()
    # All that is left is to say the base rate.
    assert np.abs(confidence.after.said - share).mean() < 0.15


def test_keypoints_are_compared_by_name(labelled: LabelledSet, make_oracle: Make) -> None:
    names = labelled.skeleton.keypoints
    backwards = Skeleton(name="backwards", keypoints=tuple(reversed(names)))
    some = Skeleton(name="some", keypoints=names[5:11])
    whole = evaluate(make_oracle(labelled, skeleton=backwards), labelled)
    assert whole.numbers["ap"] == pytest.approx(1.0)
    assert "all 17 keypoints" in whole.protocol.text
    part = evaluate(make_oracle(labelled, skeleton=some), labelled)
    assert part.numbers["mean_oks"] == pytest.approx(1.0)
    assert part.people.names == names[5:11]
    assert "6 keypoints that both have by name" in part.protocol.text
    with pytest.raises(UsageError, match="no keypoint name in common"):
        evaluate(make_oracle(labelled, skeleton=Skeleton(name="bee", keypoints=("sting",))), _renamed(labelled))


def _renamed(labelled: LabelledSet) -> LabelledSet:
    keypoints = tuple(f"dot_{name}" for name in labelled.skeleton.keypoints)
    return replace(labelled, skeleton=Skeleton(name="dots", keypoints=keypoints))


def test_boxes_from_a_file_and_people_it_misses(labelled: LabelledSet, make_oracle: Make, tmp_path: Path) -> None:
    detections = [
        {"image_id": r.image_id, "category_id": 1, "bbox": xyxy_to_xywh(r.box).tolist(), "score": 0.9}
        for r in labelled.records[:30]
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(detections))
    result = evaluate(make_oracle(labelled), labelled, boxes=path)
    found = labelled.records[:30]
    assert len(result.people) == 40
    assert result.people.found.sum() == len(found)
    assert result.numbers["found"] == pytest.approx(0.75)
    assert result.numbers["mean_oks"] == pytest.approx(0.75)
    assert result.numbers["ar"] == pytest.approx(0.75)
    assert result.numbers["pck@0.2"] == pytest.approx(1.0)  # of people that were found
    assert "boxes.json" in result.protocol.text


def test_a_picture_gets_no_boxes_of_the_one_whose_number_it_is_called(labelled: LabelledSet, tmp_path: Path) -> None:
    first, second = (
        replace(picture, path=Path(f"{number}.jpg"), id=number - 1)
        for number, picture in enumerate(pictures_of(labelled, 2, with_people=True), 5)
    )
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 5, "category_id": 1, "bbox": [-30, 4, 20, 30], "score": 0.5}]))
    # Labelled 4 and 5, called 5.jpg and 6.jpg: the box is of the second, and lies outside, as detections may.
    found = [len(boxes) for boxes in boxes_from_file(path, [first, second])]
    assert found == [0, 1]
    named = {
        "images": [{"id": 5, "file_name": "5.jpg"}, {"id": 4, "file_name": "6.jpg"}],
        "annotations": [{"image_id": 5, "category_id": 1, "bbox": [1, 4, 20, 30]}],
    }
    path.write_text(json.dumps(named))
    assert [len(boxes) for boxes in boxes_from_file(path, [first, second])] == [1, 0], "names come before numbers"


def test_predictions_have_the_ids_and_keypoints_of_the_file(labelled: LabelledSet, make_oracle: Make) -> None:
    fewer = Skeleton("fewer", labelled.skeleton.keypoints[:5])
    known = make_oracle(labelled)
    result = evaluate(known, replace(labelled, category_ids={"person": 21}))
    assert {entry["category_id"] for entry in result.predictions} == {21}
    part = evaluate(make_oracle(labelled.with_keypoints_of(fewer)), labelled)
    assert {len(entry["keypoints"]) for entry in part.predictions} == {51}
    assert not any(any(entry["keypoints"][15:]) for entry in part.predictions)


def test_unknown_metrics_are_refused_before_the_work(labelled: LabelledSet) -> None:
    with pytest.raises(UsageError, match="unknown metrics 'okss'"):
        evaluate(None, labelled, metrics=["okss"])  # type: ignore[arg-type] # nobody is asked


def test_boxes_from_a_detector(labelled: LabelledSet, make_oracle: Make) -> None:
    oracle = make_oracle(labelled)
    with pytest.raises(UsageError, match="detector"):
        evaluate(oracle, labelled, boxes="detector")

    class Sloppy:
        name = "sloppy"

        def __call__(self, here: Any) -> Boxes:
            return Boxes(np.array([record.box + 3 for record in here]).reshape(-1, 4))

    oracle.detector = Sloppy()
    result = evaluate(oracle, labelled, boxes="detector")
    assert result.numbers["ap"] == pytest.approx(1.0)
    assert "boxes found by sloppy" in result.protocol.text


def test_pictures_without_people_cost_precision_with_a_detector_only(
    labelled: LabelledSet, make_oracle: Make, tmp_path: Path
) -> None:
    empty = ImageEntry(id=99, path=labelled.images[0].path.with_name("0.jpg"), size=Size(480, 640))
    more = replace(labelled, images=(*labelled.images, empty))
    oracle = make_oracle(more)
    assert len(evaluate(oracle, more).pictures) == 10
    wrong = [{"image_id": 99, "category_id": 1, "bbox": [5, 5, 50, 80], "score": 1.0}] + [
        {"image_id": r.image_id, "category_id": 1, "bbox": xyxy_to_xywh(r.box).tolist(), "score": 0.5}
        for r in labelled.records
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(wrong))
    result = evaluate(oracle, more, boxes=path)
    assert len(result.pictures) == 11
    assert result.numbers["ar"] == pytest.approx(1.0)
    assert result.numbers["ap"] < 1.0


def test_limit_and_progress(labelled: LabelledSet, make_oracle: Make) -> None:
    told: list[tuple[int, int]] = []
    oracle = make_oracle(labelled)
    result = evaluate(oracle, labelled, limit=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(result.pictures) == 3
    assert len(oracle.read) == 3
    with pytest.raises(UsageError, match="at least 1"):
        evaluate(oracle, labelled, limit=0)


def test_flip_test_is_passed_on_and_stated(labelled: LabelledSet, make_oracle: Make) -> None:
    assert "with flip test" in evaluate(make_oracle(labelled), labelled, flip_test=True).protocol.text
    assert "without flip test" in evaluate(make_oracle(labelled), labelled).protocol.text


def test_groups_of_metrics(labelled: LabelledSet, make_oracle: Make, relabel: Make) -> None:
    oracle = make_oracle(labelled, 0.05)
    assert "pck@0.2" not in evaluate(oracle, labelled, metrics=["oks"]).numbers
    assert 0 < evaluate(oracle, labelled, metrics=["aic"]).numbers["aic_score"] < 1
    with pytest.raises(UsageError, match="did you mean 'pckh'"):
        evaluate(oracle, labelled, metrics=["pckhh"])
    with pytest.raises(UsageError, match="do not carry what 'pckh' needs"):
        evaluate(oracle, labelled, metrics=["pckh"])
    heads = relabel(labelled, 0, head_size=20.0)
    numbers = evaluate(oracle, heads, metrics=["pckh"]).numbers
    assert 0 <= numbers["pckh@0.1"] <= numbers["pckh@0.5"] <= 1


def test_crowdpose_species_and_faces_are_noticed(labelled: LabelledSet, make_oracle: Make) -> None:
    crowded = replace(labelled, images=tuple(replace(entry, crowd_index=entry.id / 10) for entry in labelled.images))
    assert evaluate(make_oracle(crowded), crowded).numbers["crowdpose_ap_hard"] == pytest.approx(1.0)
    animals = replace(
        labelled,
        records=tuple(replace(record, label=("cow", "fox")[n % 2]) for n, record in enumerate(labelled.records)),
    )
    numbers = evaluate(make_oracle(animals, 0.05), animals).numbers
    assert numbers["ap"] == pytest.approx((numbers["ap/cow"] + numbers["ap/fox"]) / 2)


def test_a_region_in_the_labels_is_what_the_model_sees(labelled: LabelledSet, relabel: Make) -> None:
    changed = relabel(labelled, 0, region=np.array([100.0, 120.0, 250.0, 250.0]))
    picture = pictures_of(changed)[0]
    first = labelled_boxes(changed, picture).xyxy[0]
    np.testing.assert_allclose((first[2:] - first[:2]) * CONTEXT, [250, 250])
    np.testing.assert_allclose((first[:2] + first[2:]) / 2, [100, 120])


def test_people_get_the_estimate_of_their_box(labelled: LabelledSet, make_oracle: Make) -> None:
    oracle = make_oracle(labelled, 0.05)
    pictures = pictures_of(labelled)
    poses = list(oracle.stream([p.path for p in pictures], boxes=[labelled_boxes(labelled, p) for p in pictures]))
    straight = gather(labelled, pictures, poses, oracle.skeleton, given=True)
    shuffled = [one[np.random.default_rng(0).permutation(len(one))] for one in poses]
    by_box = gather(labelled, pictures, shuffled, oracle.skeleton, given=False)
    np.testing.assert_array_equal(straight.xy, by_box.xy)
    assert straight.found.all()


def test_compare_is_paired_and_signed(labelled: LabelledSet, make_oracle: Make) -> None:
    good, bad = (evaluate(make_oracle(labelled, noise), labelled) for noise in (0.02, 0.10))
    found = compare(bad, good, resamples=200)
    for name in ("ap", "mean_oks"):
        assert found[name].difference == pytest.approx(good.numbers[name] - bad.numbers[name])
        assert found[name].low > 0
    with pytest.raises(UsageError, match="same pictures"):
        compare(good, evaluate(make_oracle(labelled), labelled, limit=4))


def test_numbers_are_plain_json(labelled: LabelledSet, make_oracle: Make) -> None:
    result = evaluate(make_oracle(labelled, 0.05), labelled)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["numbers"]["ap"] == result.numbers["ap"]
    assert plain["protocol"]["people"] == 40
    assert [row["name"] for row in plain["keypoints"]] == list(labelled.skeleton.keypoints)


def test_with_the_real_estimator(labelled: LabelledSet) -> None:
    places = [(0.5, (place + 1) / 18) for place in range(17)]
    engine = FakeEngine(places, input_size=Size(64, 48), heatmap_size=Size(16, 12))
    estimator = PoseEstimator({"coco": Head(COCO_HEAD, labelled.skeleton, engine)})
    plain = evaluate(estimator, labelled)
    flipped = evaluate(estimator, labelled, flip_test=True)
    assert 0 <= plain.numbers["ap"] < 0.5
    assert len(plain.predictions) <= 40
    assert np.isfinite(plain.people.xy).all()
    assert "flip_test" in dict(flipped.protocol.model.settings)


def test_a_picture_that_is_not_there_is_named(labelled: LabelledSet) -> None:
    labelled.images[2].path.unlink()
    engine = FakeEngine([(0.5, 0.5)] * 17, input_size=Size(64, 48), heatmap_size=Size(16, 12))
    estimator = PoseEstimator({"coco": Head(COCO_HEAD, labelled.skeleton, engine)})
    with pytest.raises(InputError, match=r"2\.jpg"):
        evaluate(estimator, labelled)


def test_crowdpose_leaves_head_and_neck_out_of_who_is_looked_for(
    shared: Path, make_oracle: Make, tmp_path: Path
) -> None:
    raw = json.loads(gzip.decompress((shared / "data/annotations/crowdpose_val.json.gz").read_bytes()))
    raw["images"] = raw["images"][:150]
    kept = {entry["id"] for entry in raw["images"]}
    raw["annotations"] = [entry for entry in raw["annotations"] if entry["image_id"] in kept]
    path = tmp_path / "crowdpose.json"
    path.write_text(json.dumps(raw))
    labelled = read_labelled("crowdpose", path)
    labels = coco_labels(labelled, pictures_of(labelled), np.arange(14))
    mine = {entry["id"]: entry["num_keypoints"] for entry in raw["annotations"]}
    ids = [record.annotation_id for record in labelled.records]
    ours = {ids[entry["id"] - 1]: entry["num_keypoints"] for entry in labels["annotations"]}
    assert ours == mine
    assert 0 in mine.values()
    result = evaluate(make_oracle(labelled, 0.05), labelled)
    sigmas = labelled.skeleton.sigma_array
    expected = evaluate_crowdpose(raw, result.predictions, sigmas=sigmas)
    assert {name: result.numbers[f"crowdpose_{name}"] for name in expected} == pytest.approx(expected)


def test_whole_body_parts(shared: Path, make_oracle: Make, tmp_path: Path) -> None:
    raw = gzip.decompress((shared / "data/annotations/wholebody_example_gt.json.gz").read_bytes())
    path = tmp_path / "wholebody.json"
    path.write_bytes(raw)
    labelled = read_labelled("wholebody", path)
    perfect = evaluate(make_oracle(labelled), labelled).numbers
    assert len(perfect) > 20
    for part in ("body", "foot", "face", "left_hand", "right_hand", "hands", "whole"):
        assert perfect[f"{part}_ap"] == pytest.approx(1.0), part
    worse = evaluate(make_oracle(labelled, 0.01), labelled).numbers
    assert worse["face_ap"] < worse["body_ap"]  # the same noise is worse where the tolerance is tight
