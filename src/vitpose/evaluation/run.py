"""Run an estimator over a labelled set and score what it finds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.poses import Boxes, Poses
from vitpose.core.provenance import Provenance
from vitpose.data.records import LabelledSet
from vitpose.evaluation.boxes import boxes_from_file
from vitpose.evaluation.people import (
    People,
    Picture,
    coco_labels,
    coco_results,
    gather,
    labelled_boxes,
    pictures_of,
    shared_keypoints,
)
from vitpose.evaluation.result import Confidence, Curve, EvaluationResult, KeypointRow, Procedure
from vitpose.evaluation.scores import Material, check_groups, work_out
from vitpose.metrics import coco, pck
from vitpose.metrics.bootstrap import Interval, ap_score, mean_score, paired_bootstrap
from vitpose.metrics.breakdown import CROWDING, OCCLUSION, SIZE, Slice, break_down, crowding, occlusion
from vitpose.metrics.calibration import fit_calibration, keypoint_error, reliability
from vitpose.metrics.matching import match
from vitpose.metrics.nms import NMS_OKS, suppress
from vitpose.metrics.table import build_table
from vitpose.pipeline.estimator import PoseEstimator

_PCK_LIMITS = np.linspace(0, 0.3, 61)
_OKS_LIMITS = np.linspace(0.5, 1, 51)


def evaluate(
    estimator: PoseEstimator,
    labelled: LabelledSet,
    *,
    boxes: str | Path = "gt",
    flip_test: bool | None = None,
    metrics: Sequence[str] | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Estimate every picture of a labelled set and score the result by the published protocols.

    Poses are ranked by box score times mean keypoint score above 0.2, and OKS suppression at 0.9 is applied.

    Args:
        estimator: of ``vitpose.load``, with a detector if ``boxes`` is ``detector``.
        labelled: pictures and labels; keypoints are compared by name.
        boxes: ``gt`` the labelled boxes, ``detector`` the estimator's, or a JSON file: COCO detection results, or
            anything ``vitpose predict --boxes`` takes.
        flip_test: average with the mirrored crop (the papers do); None leaves the estimator's choice.
        metrics: groups of ``evaluation.scores.GROUPS``; None takes all the labels allow.
        limit: only the first so many pictures.
        progress: told how many pictures are done, out of how many.

    Raises:
        InputError: a picture cannot be read, nobody is labelled, or the skeletons share no keypoint.
        UsageError: no detector, or metrics the set does not allow.
        MissingExtraError: the library for average precision is not installed.
    """
    check_groups(metrics)
    if metrics is None or "oks" in metrics:
        coco.library()
    if not any(record.labelled for record in labelled.records):
        raise InputError(f"{labelled.source}: nobody in it has a labelled keypoint, so there is nothing to measure by")
    if flip_test is not None:
        estimator = estimator.with_options(flip_test=flip_test)
    pictures = pictures_of(labelled, limit, with_people=str(boxes) == "gt")
    theirs, ours = shared_keypoints(labelled.skeleton, estimator.skeleton)
    raw = list(_estimate(estimator, labelled, pictures, boxes, progress))
    people = gather(labelled, pictures, raw, estimator.skeleton, given=str(boxes) == "gt")
    poses = tuple(
        suppress(estimates, estimator.engine.input_size, square=estimator.head.square_box) for estimates in raw
    )
    labels = coco_labels(labelled, pictures, theirs)
    if str(boxes) != "gt" and len(labels["categories"]) > 1:
        labels = _one_category(labels)
    categories = {entry["name"]: entry["id"] for entry in labels["categories"]}
    ranked = [_labelled_as(estimates, categories) for estimates in poses]
    results = coco_results(ranked, categories, ours)
    table = build_table(labels, results, sigmas=people.sigmas)
    material = Material(
        labelled=labelled, skeleton=labelled.skeleton, people=people, labels=labels, results=results, table=table
    )
    confidence = _confidence(people)
    numbers = work_out(material, metrics)
    return EvaluationResult(
        protocol=_protocol(estimator, labelled, people, str(boxes), raw),
        numbers=numbers | (confidence.errors if confidence is not None else {}),
        keypoints=_rows(people),
        breakdowns=_breakdowns(people),
        curves=_curves(people),
        confidence=confidence,
        people=people,
        pictures=pictures,
        poses=poses,
        matches=match(table),
        predictions=_predictions(results, pictures, labelled, theirs, categories),
    )


def compare(
    first: EvaluationResult, second: EvaluationResult, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Return ``second - first`` with 95 % intervals for ``ap`` and ``mean_oks``: paired bootstrap over pictures.

    Raises:
        UsageError: the two were not measured on the same pictures and keypoints.
    """
    if [p.id for p in first.pictures] != [p.id for p in second.pictures] or first.people.names != second.people.names:
        raise UsageError("two evaluations can be compared only on the same pictures and keypoints")
    images = len(first.pictures)
    oks = [mean_score(side.people.oks, side.people.image, images=images) for side in (first, second)]
    return {
        "ap": paired_bootstrap(
            ap_score(first.matches), ap_score(second.matches), images=images, resamples=resamples, seed=seed
        ),
        "mean_oks": paired_bootstrap(*oks, images=images, resamples=resamples, seed=seed),
    }


def _estimate(
    estimator: PoseEstimator,
    labelled: LabelledSet,
    pictures: Sequence[Picture],
    boxes: str | Path,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Poses]:
    given: Iterator[Boxes] | None = None
    if str(boxes) == "gt":
        given = (labelled_boxes(labelled, picture) for picture in pictures)
    elif str(boxes) != "detector":
        given = iter(boxes_from_file(Path(boxes), pictures))
    elif estimator.detector is None:
        raise UsageError("boxes from a detector need an estimator with one: pass detector= to load")
    paths = (picture.path for picture in pictures)
    for done, estimates in enumerate(estimator.stream(paths, boxes=given), 1):
        yield estimates
        if progress is not None:
            progress(done, len(pictures))


def _predictions(
    results: Sequence[dict[str, Any]],
    pictures: Sequence[Picture],
    labelled: LabelledSet,
    keypoints: NDArray[np.int64],
    categories: Mapping[str, int],
) -> tuple[dict[str, Any], ...]:
    """Return results with the ids and keypoints of the file of labels, so that other tools can score them by it.

    Keypoints the model does not know are 0, 0, 0.
    """
    own = labelled.category_ids
    ids = {number: own.get(label, number) for label, number in categories.items()}
    if len(categories) == len(own) == 1:
        ids = dict.fromkeys(ids, next(iter(own.values())))
    found = []
    for entry in results:
        points = np.zeros((len(labelled.skeleton), 3))
        points[keypoints] = np.reshape(entry["keypoints"], (-1, 3))
        found.append(
            {
                **entry,
                "image_id": pictures[entry["image_id"]].id,
                "category_id": ids[entry["category_id"]],
                "keypoints": points.ravel().tolist(),
            }
        )
    return tuple(found)


def _one_category(labels: dict[str, Any]) -> dict[str, Any]:
    """Forget the species: a detector's class names are not the labels', so everything is matched together."""
    annotations = [{**entry, "category_id": 1} for entry in labels["annotations"]]
    return {**labels, "annotations": annotations, "categories": [{"id": 1, "name": "any"}]}


def _labelled_as(poses: Poses, categories: dict[str, int]) -> Poses:
    """With one category every pose belongs to it, whatever the detector calls it."""
    return replace(poses, labels=(next(iter(categories)),) * len(poses)) if len(categories) == 1 else poses


def _protocol(
    estimator: PoseEstimator, labelled: LabelledSet, people: People, boxes: str, poses: Sequence[Poses]
) -> Procedure:
    detector = "" if estimator.detector is None else estimator.detector.name
    words = {"gt": "labelled boxes", "detector": f"boxes found by {detector}"}
    compared, labels, model = len(people.names), len(labelled.skeleton), len(estimator.skeleton)
    keypoints = f"all {labels} keypoints" if compared == labels else f"{compared} keypoints that both have by name"
    if compared == labels and model != labels:
        keypoints += f" of the labels ({model} in the model)"
    return Procedure(
        dataset=labelled.name,
        source=str(labelled.source),
        pictures=len(poses),
        people=len(people),
        boxes=words.get(boxes, f"boxes from {Path(boxes).name}"),
        keypoints=keypoints,
        suppression=NMS_OKS,
        model=poses[0].model if poses else Provenance(),
    )


def _rows(people: People) -> tuple[KeypointRow, ...]:
    labelled = people.visibility > 0
    points = people.xy, people.truth, people.counted
    near = pck.pck(*points, scales=pck.box_sides(people.boxes), threshold=0.2).values
    apart = pck.epe(*points).values
    rows = []
    for place, name in enumerate(people.names):
        mine, seen = labelled[:, place], people.counted[:, place]
        rows.append(
            KeypointRow(
                name=name,
                points=int(mine.sum()),
                similarity=_mean(people.similarity[mine, place]),
                right=_mean(people.right[mine, place]),
                pck=float(near[place]),
                distance=float(apart[place]),
                score=_mean(people.scores[seen, place]),
            )
        )
    return tuple(rows)


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _breakdowns(people: People) -> dict[str, tuple[Slice, ...]]:
    attributes = {
        "size": (people.areas, SIZE),
        "occlusion": (occlusion(people.visibility), OCCLUSION),
        "crowding": (crowding(people.boxes, people.image), CROWDING),
    }
    return {name: break_down(people.oks, values, slicing) for name, (values, slicing) in attributes.items()}


def _curves(people: People) -> tuple[Curve, ...]:
    sides = pck.box_sides(people.boxes)
    near = pck.pck_curve(people.xy, people.truth, people.counted, scales=sides, thresholds=_PCK_LIMITS)
    alike = np.array([_mean(people.oks >= limit) for limit in _OKS_LIMITS])
    return Curve("keypoints within a share of the box", _PCK_LIMITS, near), Curve("people by OKS", _OKS_LIMITS, alike)


def _confidence(people: People) -> Confidence | None:
    """Fit on all pictures for keeping; judge by fitting on every other picture and looking at the rest."""
    counted = people.counted
    if not counted.any():
        return None
    raw = np.clip(people.scores, 0, 1)
    calibrated = np.full(raw.shape, np.nan)
    for half in (0, 1):
        inside = people.image % 2 == half
        if counted[~inside].any():
            fitted = fit_calibration(
                people.scores[~inside], people.right[~inside], counted[~inside], keypoints=people.names
            )
            calibrated[inside] = fitted.apply(people.scores[inside])
    judged = counted & np.isfinite(calibrated)
    sides = {"before": raw, "after": calibrated}
    errors = {}
    for name, said in sides.items():
        for equal, mass in (("mass", True), ("width", False)):
            curve = reliability(said[judged], people.right[judged], equal_mass=mass)
            errors[f"calibration_error_{equal}_{name}"] = curve.error
        errors[f"calibration_error_keypoint_{name}"] = keypoint_error(said, people.right, judged)
    return Confidence(
        calibration=fit_calibration(people.scores, people.right, counted, keypoints=people.names),
        before=reliability(raw[judged], people.right[judged]),
        after=reliability(calibrated[judged], people.right[judged]),
        errors=errors,
    )
