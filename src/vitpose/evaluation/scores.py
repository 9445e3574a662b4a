"""Which numbers are worked out: groups of metrics by name, each a function of the same material."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vitpose.core.errors import UsageError, nearest
from vitpose.core.skeleton import Skeleton
from vitpose.data.records import LabelledSet
from vitpose.evaluation.people import Ints, People
from vitpose.metrics import coco, pck
from vitpose.metrics.table import KeypointTable

EYE_CORNERS: Final[Mapping[str, tuple[int, int]]] = {
    "face68": (36, 45),
    "wholebody_face68": (36, 45),
    "wflw98": (60, 72),
    "cofw29": (8, 9),
    "horse22": (0, 1),
}
"""The two keypoints whose distance normalises NME, by skeleton: outer eye corners (Horse-10: nose to eye)."""

TORSO: Final = ("right_hip", "left_shoulder")
"""The diagonal by which Leeds Sports Pose measures."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """What the groups work on.

    Attributes:
        labelled: the set.
        skeleton: of the labels.
        people: labels beside estimates.
        labels: the labels as COCO has them.
        results: the estimates as COCO results.
        table: both, compared.
    """

    labelled: LabelledSet
    skeleton: Skeleton
    people: People
    labels: dict[str, Any]
    results: list[dict[str, Any]]
    table: KeypointTable


def check_groups(chosen: Sequence[str] | None) -> None:
    """Refuse what is no group, before the work.

    Raises:
        UsageError: an unknown group.
    """
    for name in chosen or ():
        if name not in GROUPS:
            raise UsageError(f"unknown metrics {name!r}{nearest(name, GROUPS)}")


def work_out(material: Material, chosen: Sequence[str] | None) -> dict[str, float]:
    """Return the numbers of the chosen groups, or of all that make sense for the set.

    Raises:
        UsageError: an unknown group, or one the set has no labels for.
    """
    check_groups(chosen)
    for name in chosen or ():
        if not GROUPS[name][0](material):
            raise UsageError(f"the labels of {material.labelled.name!r} do not carry what {name!r} needs")
    names = chosen or [name for name, (fits, _) in GROUPS.items() if fits(material) and name not in _ON_REQUEST]
    numbers: dict[str, float] = {}
    for name in names:
        numbers |= GROUPS[name][1](material)
    return numbers


def _always(_material: Material) -> bool:
    return True


def _oks(material: Material) -> dict[str, float]:
    people = material.people
    numbers = coco.score_table(material.table).to_dict()
    found = float(people.found.mean()) if len(people) else float("nan")
    mean = float(people.oks.mean()) if len(people) else float("nan")
    return numbers | {"mean_oks": mean, "found": found}


def _pck(material: Material) -> dict[str, float]:
    people = material.people
    points = people.xy, people.truth, people.counted
    sides = pck.box_sides(people.boxes)
    numbers = {
        f"pck@{limit:g}": pck.pck(*points, scales=sides, threshold=limit).point_mean for limit in (0.05, 0.1, 0.2)
    }
    if all(name in people.names for name in TORSO):
        first, second = (people.names.index(name) for name in TORSO)
        torso = pck.pair_distances(people.truth, people.visibility > 0, first, second)
        numbers["pck_torso@0.2"] = pck.pck(*points, scales=torso, threshold=0.2).point_mean
    numbers["auc@30px"] = pck.auc(*points).point_mean
    numbers["epe_px"] = pck.epe(*points).point_mean
    return numbers


def _has_heads(material: Material) -> bool:
    records = material.labelled.records
    return any(records[place].head_size for place in material.people.record)


def _pckh(material: Material) -> dict[str, float]:
    people, records = material.people, material.labelled.records
    counted = people.counted.copy()
    left_out = [place for place, name in enumerate(people.names) if name in ("pelvis", "thorax")]
    counted[:, left_out] = False
    heads = np.array([records[place].head_size or np.nan for place in people.record], dtype=np.float64)
    return {
        f"pckh@{limit:g}": pck.pck(people.xy, people.truth, counted, scales=heads, threshold=limit).point_mean
        for limit in (0.5, 0.1)
    }


def _has_crowding(material: Material) -> bool:
    return bool(material.labels["images"]) and all("crowdIndex" in entry for entry in material.labels["images"])


def _crowdpose(material: Material) -> dict[str, float]:
    numbers = coco.evaluate_crowdpose(material.labels, material.results, sigmas=material.people.sigmas)
    return {f"crowdpose_{name}": value for name, value in numbers.items()}


def _is_wholebody(material: Material) -> bool:
    return len(material.people.names) == 133 and len(material.skeleton) == 133


def _wholebody(material: Material) -> dict[str, float]:
    numbers = coco.evaluate_wholebody(material.labels, material.results, sigmas=material.people.sigmas)
    return {f"{part}_{name}": getattr(of, name) for part, of in numbers.items() for name in ("ap", "ar")}


def _has_species(material: Material) -> bool:
    return len(material.labels["categories"]) > 1


def _species(material: Material) -> dict[str, float]:
    numbers = coco.evaluate_by_category(material.labels, material.results, sigmas=material.people.sigmas)
    return {f"ap/{name}": of.ap for name, of in numbers.items() if name != "mean"}


def _is_face(material: Material) -> bool:
    corners = EYE_CORNERS.get(material.skeleton.name)
    return corners is not None and _places(material, corners) is not None


def _nme(material: Material) -> dict[str, float]:
    places = _places(material, EYE_CORNERS[material.skeleton.name])
    if places is None:
        raise UsageError("the model does not know the outer eye corners")
    people = material.people
    scales = pck.pair_distances(people.truth, people.visibility > 0, *places)
    return {"nme": pck.nme(people.xy, people.truth, people.counted, scales=scales).point_mean}


def _places(material: Material, corners: tuple[int, int]) -> tuple[int, int] | None:
    """Return where two keypoints of the labels' skeleton are among those compared."""
    compared: Ints = material.people.skeleton_indices
    where = [np.flatnonzero(compared == corner) for corner in corners]
    return None if any(not len(place) for place in where) else (int(where[0][0]), int(where[1][0]))


def _aic(material: Material) -> dict[str, float]:
    return {"aic_score": coco.aic_score(material.labels, material.results, sigmas=material.people.sigmas)}


_ON_REQUEST = ("aic",)

GROUPS: Final[Mapping[str, tuple[Callable[[Material], bool], Callable[[Material], dict[str, float]]]]] = {
    "oks": (_always, _oks),
    "pck": (_always, _pck),
    "pckh": (_has_heads, _pckh),
    "crowdpose": (_has_crowding, _crowdpose),
    "wholebody": (_is_wholebody, _wholebody),
    "species": (_has_species, _species),
    "nme": (_is_face, _nme),
    "aic": (_always, _aic),
}
"""Groups of metrics: when they make sense, and what works them out."""
