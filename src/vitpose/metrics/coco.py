"""Average precision and recall by OKS: COCO, CrowdPose, COCO-WholeBody, AP-10K, AI Challenger.

Totals come from faster-coco-eval, the compiled drop-in for pycocotools; the similarities are computed here for all
pairs at once. Numbers equal pycocotools' (a test holds them to it).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import InputError
from vitpose.core.extras import require
from vitpose.metrics.table import AreaSource, KeypointTable, Truth, build_table

Labels = Mapping[str, Any]
Predictions = Sequence[Mapping[str, Any]]

WHOLEBODY_PARTS: Mapping[str, slice] = {
    "body": slice(0, 17),
    "foot": slice(17, 23),
    "face": slice(23, 91),
    "left_hand": slice(91, 112),
    "right_hand": slice(112, 133),
    "whole": slice(0, 133),
}
"""Where the parts of COCO-WholeBody's 133 keypoints lie."""

CROWD_LIMITS = (0.2, 0.8)
"""CrowdPose: ``crowdIndex`` below the first is easy, from the second on hard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeypointAP:
    """The ten numbers of the COCO keypoint evaluation, 0..1; NaN where there is nobody to be found.

    Attributes:
        ap: mean over OKS 0.50:0.05:0.95; ``ap50`` and ``ap75`` at one threshold; ``ap_medium`` for people of
            32^2 to 96^2 square pixels, ``ap_large`` above. ``ar*`` the same for recall.
    """

    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float
    ar50: float
    ar75: float
    ar_medium: float
    ar_large: float

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


def evaluate_keypoints(
    truth: Labels, results: Predictions, *, sigmas: ArrayLike, area: AreaSource = "label"
) -> KeypointAP:
    """Return the ten COCO numbers; several categories are matched apart and averaged.

    Args:
        truth: COCO keypoint labels (a dict as in the JSON file).
        results: COCO keypoint results.
        sigmas: ``(keypoints,)`` OKS constants of the skeleton.
        area: where the scale of a person comes from, see ``build_table``.

    Raises:
        InputError: labels or results are incomplete.
        MissingExtraError: faster-coco-eval is not installed.
    """
    return score_table(build_table(truth, results, sigmas=sigmas, area=area))


def evaluate_by_category(
    truth: Labels, results: Predictions, *, sigmas: ArrayLike, area: AreaSource = "label"
) -> dict[str, KeypointAP]:
    """Return the numbers of every category that has people, and ``mean`` over them (AP-10K, APT-36K: species)."""
    table = build_table(truth, results, sigmas=sigmas, area=area)
    precision, recall = _accumulate(table)
    numbers = {"mean": _summary(precision, recall)}
    for place, name in enumerate(table.category_names):
        one = slice(place, place + 1)
        if (recall[:, one, 0] > -1).any():
            numbers[name] = _summary(precision[:, :, one], recall[:, one])
    return numbers


def evaluate_crowdpose(truth: Labels, results: Predictions, *, sigmas: ArrayLike) -> dict[str, float]:
    """Return the nine CrowdPose numbers: AP, AP50, AP75, AR, AR50, AR75 and AP of easy, medium and hard pictures.

    The area of a person is 0.53 of the box, as CrowdPose labels none.

    Raises:
        InputError: a picture has no ``crowdIndex``.
    """
    numbers = evaluate_keypoints(truth, results, sigmas=sigmas, area="box").to_dict()
    chosen = {name: numbers[name] for name in ("ap", "ap50", "ap75", "ar", "ar50", "ar75")}
    for entry in truth["images"]:
        if "crowdIndex" not in entry:
            raise InputError(f"picture {entry['id']!r} has no crowdIndex: these are not CrowdPose labels")
    low, high = CROWD_LIMITS
    ranges = {"ap_easy": (-np.inf, low), "ap_medium": (low, high), "ap_hard": (high, np.inf)}
    for name, (least, below) in ranges.items():
        images = [entry for entry in truth["images"] if least <= entry["crowdIndex"] < below]
        chosen[name] = evaluate_keypoints(*_only(truth, results, images), sigmas=sigmas, area="box").ap
    return chosen


def evaluate_wholebody(truth: Labels, results: Predictions, *, sigmas: ArrayLike) -> dict[str, KeypointAP]:
    """Return the numbers of each part of COCO-WholeBody and of the whole.

    A person counts for a part when at least one keypoint of the part is labelled; predictions are ranked by
    ``<part>_score`` where they carry one (``body_score``, ``lefthand_score`` ...), else by ``score``. ``hands`` is
    the mean of the two hands.

    Args:
        truth: labels with 133 keypoints, or with ``keypoints``, ``foot_kpts``, ``face_kpts``, ``lefthand_kpts`` and
            ``righthand_kpts`` as the data set ships them.
        results: predictions with 133 keypoints, or apart in the same fields.
        sigmas: ``(133,)`` OKS constants.
    """
    constants = np.asarray(sigmas, dtype=np.float64)
    numbers: dict[str, KeypointAP] = {}
    for part, where in WHOLEBODY_PARTS.items():
        people = [_part(entry, where) for entry in truth["annotations"]]
        key = part.replace("_", "") if part != "whole" else "wholebody"
        found = [
            {**_part(entry, where), "score": entry.get(f"{key}_score", entry.get("score", 0.0))} for entry in results
        ]
        numbers[part] = evaluate_keypoints({**truth, "annotations": people}, found, sigmas=constants[where])
    left, right = numbers["left_hand"].to_dict(), numbers["right_hand"].to_dict()
    numbers["hands"] = KeypointAP(**{name: (left[name] + right[name]) / 2 for name in left})
    return numbers


def aic_score(truth: Labels, results: Predictions, *, sigmas: ArrayLike) -> float:
    """Return the score of the AI Challenger 2017 keypoint contest, which is stricter and looser than COCO's in turns.

    OKS uses the whole box as the area and only visible points (visibility 2); each person takes the best prediction;
    a threshold's precision is the share of persons above it, out of the larger of persons and predictions summed
    over pictures. Ranks play no part.
    """
    seen = [{**entry, "keypoints": _visible_only(entry)} for entry in truth["annotations"]]
    boxed = [{**entry, "area": entry["bbox"][2] * entry["bbox"][3], "num_keypoints": 1} for entry in seen]
    table = build_table({**truth, "annotations": boxed}, results, sigmas=sigmas, most=len(results))
    bare = np.logical_not((table.truth.visibility > 0).any(axis=1))
    best = np.zeros(len(table.truth.group))
    for group, block in table.blocks.items():
        people = slice(*np.searchsorted(table.truth.group, [group, group + 1]))
        best[people] = np.where(bare[people], 0, block.max(axis=0))
    groups = len(table.images) * len(table.categories)
    people_in = np.bincount(table.truth.group, minlength=groups)
    found_in = np.bincount(table.results.group, minlength=groups)
    total = int(np.maximum(people_in, found_in)[people_in > 0].sum())
    thresholds = np.linspace(0.5, 0.95, 10)
    return float((best[:, None] > thresholds).sum(axis=0).mean() / total) if total else float("nan")


def score_table(table: KeypointTable) -> KeypointAP:
    """Return the ten numbers of a table that is already built."""
    return _summary(*_accumulate(table))


def library() -> ModuleType:
    """Return the library that counts.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("faster_coco_eval", "train", "average precision by OKS")


def _accumulate(table: KeypointTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision ``(thresholds, recalls, categories, areas)`` and recall ``(thresholds, categories, areas)``."""
    counted = library()
    frame = {
        "images": [{"id": place} for place in range(len(table.images))],
        "categories": [{"id": place, "name": name} for place, name in enumerate(table.category_names)],
    }
    with warnings.catch_warnings():
        # Ids are given anew here and start at 1; the warning is about files with an annotation 0.
        warnings.simplefilter("ignore", UserWarning)
        labels = counted.COCO({**frame, "annotations": _annotations(table, table.truth)})
        found = counted.COCO({**frame, "annotations": _detections(table)})
    evaluation = counted.COCOeval_faster(labels, found, "keypoints")
    evaluation.params.catIds = list(range(len(table.categories)))
    blocks, count = table.blocks, len(table.categories)

    def oks_of(image: int, category: int) -> list[list[float]]:
        block = blocks.get(image * count + category)
        return [] if block is None else block.tolist()

    evaluation.computeOks = oks_of
    evaluation.evaluate()
    evaluation.accumulate()
    precision: NDArray[np.float64] = np.asarray(evaluation.eval["precision"], dtype=np.float64)[..., 0]
    recall: NDArray[np.float64] = np.asarray(evaluation.eval["recall"], dtype=np.float64)[..., 0]
    return precision, recall


def _annotations(table: KeypointTable, truth: Truth) -> list[dict[str, Any]]:
    count = len(table.categories)
    columns = (truth.group.tolist(), truth.areas.tolist(), truth.crowd.tolist(), truth.ignored.tolist())
    return [
        {
            "id": number,
            "image_id": group // count,
            "category_id": group % count,
            "area": area,
            "iscrowd": int(crowd),
            "num_keypoints": int(not ignored),
        }
        for number, (group, area, crowd, ignored) in enumerate(zip(*columns, strict=True), 1)
    ]


def _detections(table: KeypointTable) -> list[dict[str, Any]]:
    count, results = len(table.categories), table.results
    columns = (results.group.tolist(), results.areas.tolist(), results.scores.tolist())
    return [
        {"id": number, "image_id": group // count, "category_id": group % count, "area": area, "score": score}
        for number, (group, area, score) in enumerate(zip(*columns, strict=True), 1)
    ]


def _summary(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> KeypointAP:
    def mean(values: NDArray[np.float64]) -> float:
        there = values[values > -1]
        return float(there.mean()) if there.size else float("nan")

    return KeypointAP(
        ap=mean(precision[..., 0]),
        ap50=mean(precision[0, ..., 0]),
        ap75=mean(precision[5, ..., 0]),
        ap_medium=mean(precision[..., 1]),
        ap_large=mean(precision[..., 2]),
        ar=mean(recall[..., 0]),
        ar50=mean(recall[0, ..., 0]),
        ar75=mean(recall[5, ..., 0]),
        ar_medium=mean(recall[..., 1]),
        ar_large=mean(recall[..., 2]),
    )


def _only(truth: Labels, results: Predictions, images: list[Any]) -> tuple[Labels, Predictions]:
    kept = {entry["id"] for entry in images}
    people = [entry for entry in truth["annotations"] if entry["image_id"] in kept]
    found = [entry for entry in results if entry["image_id"] in kept]
    return {**truth, "images": images, "annotations": people}, found


def _part(entry: Mapping[str, Any], where: slice) -> dict[str, Any]:
    """Return an entry reduced to one part; who is ignored is decided anew by its labelled points."""
    apart = ("foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts")
    flat = list(entry["keypoints"])
    if len(flat) == 3 * 17 and all(key in entry for key in apart):
        flat += [value for key in apart for value in entry[key]]
    part = flat[3 * where.start : 3 * where.stop]
    return {**entry, "keypoints": part, "num_keypoints": sum(value > 0 for value in part[2::3])}


def _visible_only(entry: Mapping[str, Any]) -> list[float]:
    points = np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3)
    points[points[:, 2] < 2, 2] = 0
    kept: list[float] = points.ravel().tolist()
    return kept
