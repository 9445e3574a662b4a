"""Results: boxes that were found and poses that were estimated. Frozen, typed, checked by shape."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.extras import require
from vitpose.core.geometry import Size, as_boxes, xyxy_to_xywh
from vitpose.core.provenance import Provenance
from vitpose.core.skeleton import Skeleton

if TYPE_CHECKING:
    import pyarrow as pa
    import supervision

SCHEMA = "vitpose.poses/1"
"""Name and version of the JSON form; ``docs/schema.md`` describes every field."""

COUNTED_SCORE = 0.2
"""Keypoints at or below this score do not count in a person's score (the ViTPose evaluation protocol)."""


_FILLED: Any = None
"""Default of fields that ``__post_init__`` fills with one value a person."""


_UNKNOWN = Provenance()

_OPTIONAL = ("track_ids", "p_correct", "raw_xy")
"""Fields of ``Poses`` with one row a person that may be None."""

_IN_DOCUMENTS = ("p_correct", "raw_xy")
"""Those that a document leaves out when there are none."""


Selection = int | slice | NDArray[Any] | Sequence[int]


def _positions(people: Selection, count: int) -> NDArray[np.int64]:
    """Return the positions a selection stands for.

    Raises:
        IndexError: there is no such position (which also ends iteration).
    """
    positions: NDArray[np.int64] = np.arange(count)
    if not isinstance(people, slice):
        people = np.atleast_1d(np.asarray(people))
        people = people if people.size else people.astype(np.int64)
    chosen: NDArray[np.int64] = positions[people]
    return chosen


def _frozen(values: ArrayLike, dtype: type, shape: tuple[int | None, ...], what: str) -> NDArray[Any]:
    array: NDArray[Any] = np.array(values, dtype=dtype)
    if array.size == 0 and 0 in [side for side in shape if side is not None]:
        array = array.reshape([0 if side is None else side for side in shape])
    fits = array.ndim == len(shape) and all(b is None or a == b for a, b in zip(array.shape, shape, strict=True))
    if not fits:
        wanted = tuple("any" if side is None else side for side in shape)
        raise UsageError(f"{what} must have shape {wanted}, not {array.shape}")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of the people (or animals) in one picture.

    Attributes:
        xyxy: ``(people, 4)`` float32 in upright picture pixels.
        scores: ``(people,)`` float32, the detector's; ones for boxes that were given.
        labels: class name of each box.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32] = _FILLED
    labels: tuple[str, ...] = _FILLED

    def __post_init__(self) -> None:
        """Check and freeze.

        Raises:
            InputError: a box is not a box, see ``as_boxes``.
            UsageError: the fields disagree about the number of people.
        """
        xyxy = as_boxes(self.xyxy)
        xyxy.flags.writeable = False
        people = len(xyxy)
        scores = np.ones(people) if self.scores is None else self.scores
        labels = ("person",) * people if self.labels is None else tuple(self.labels)
        if len(labels) != people:
            raise UsageError(f"{len(labels)} labels for {people} boxes")
        object.__setattr__(self, "xyxy", xyxy)
        object.__setattr__(self, "scores", _frozen(scores, np.float32, (people,), "box scores"))
        if not np.isfinite(self.scores).all():
            raise InputError("a box score is not a finite number")
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, people: Selection) -> "Boxes":
        """Select boxes by position, slice, mask or positions; one position gives one box, still as ``Boxes``."""
        chosen = _positions(people, len(self))
        return Boxes(self.xyxy[chosen], self.scores[chosen], tuple(self.labels[i] for i in chosen))


@dataclass(frozen=True, eq=False, kw_only=True)
class Poses:
    """The poses in one picture. All keypoints of all people are always there; a low score marks a doubtful one.

    Attributes:
        xy: ``(people, keypoints, 2)`` float32 x, y in upright picture pixels.
        scores: ``(people, keypoints)`` float32, the peak of each heatmap (about 0..1, not a probability).
        boxes: ``(people, 4)`` float32 xyxy, the boxes the poses were estimated from.
        box_scores: ``(people,)`` float32.
        labels: class name of each box.
        track_ids: ``(people,)`` int64, or None when nothing was tracked.
        p_correct: ``(people, keypoints)`` float32, the probability that the keypoint lies within the OKS 0.5 tolerance
            (``metrics.calibration``), or None when the model's scores were never calibrated.
        raw_xy: ``(people, keypoints, 2)`` float32, the points before smoothing where ``xy`` is smoothed, else None.
        skeleton: names, edges, mirror pairs.
        image_size: size of the upright picture.
        threshold: the score below which a keypoint counts as not seen: one number, or one a keypoint.
        model: where the result comes from.
    """

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    box_scores: NDArray[np.float32]
    skeleton: Skeleton
    image_size: Size
    labels: tuple[str, ...] = _FILLED
    track_ids: NDArray[np.int64] | None = None
    threshold: float | NDArray[np.float32] = 0.3
    model: Provenance = _UNKNOWN
    p_correct: NDArray[np.float32] | None = None
    raw_xy: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check shapes and freeze the arrays (copies: the caller's stay his).

        Raises:
            UsageError: a field has the wrong shape.
        """
        people, keypoints = len(self.boxes), len(self.skeleton)
        shapes: dict[str, tuple[type, tuple[int | None, ...]]] = {
            "xy": (np.float32, (people, keypoints, 2)),
            "scores": (np.float32, (people, keypoints)),
            "boxes": (np.float32, (people, 4)),
            "box_scores": (np.float32, (people,)),
            "track_ids": (np.int64, (people,)),
            "p_correct": (np.float32, (people, keypoints)),
            "raw_xy": (np.float32, (people, keypoints, 2)),
        }
        for name, (dtype, shape) in shapes.items():
            values = getattr(self, name)
            if values is not None or name not in _OPTIONAL:
                object.__setattr__(self, name, _frozen(values, dtype, shape, name))
        labels = ("person",) * people if self.labels is None else tuple(self.labels)
        if len(labels) != people:
            raise UsageError(f"{len(labels)} labels for {people} people")
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "image_size", Size(*map(int, self.image_size)))
        if not np.isscalar(self.threshold):
            object.__setattr__(self, "threshold", _frozen(self.threshold, np.float32, (keypoints,), "threshold"))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, people: Selection) -> "Poses":
        """Select people by position, slice, mask or positions; one position gives one person, still as ``Poses``."""
        chosen = _positions(people, len(self))
        return replace(
            self,
            xy=self.xy[chosen],
            scores=self.scores[chosen],
            boxes=self.boxes[chosen],
            box_scores=self.box_scores[chosen],
            labels=tuple(self.labels[i] for i in chosen),
            **{name: values[chosen] for name in _OPTIONAL if (values := getattr(self, name)) is not None},
        )

    def __repr__(self) -> str:
        size = f"{self.image_size.width}x{self.image_size.height}"
        return f"Poses({len(self)} people, {self.skeleton.name}, picture {size}, model {self.model.name!r})"

    @property
    def visible(self) -> NDArray[np.bool_]:
        """``(people, keypoints)``: score at or above the threshold."""
        return np.asarray(self.scores >= self.threshold)

    @property
    def score(self) -> NDArray[np.float32]:
        """``(people,)`` box score times the mean score of the keypoints above 0.2; 0 when there is none.

        This is the person's score of the ViTPose evaluation protocol, by which people are ranked.
        """
        counted = self.scores > COUNTED_SCORE
        total = np.where(counted, self.scores, 0).sum(axis=1)
        mean = total / np.maximum(counted.sum(axis=1), 1)
        return np.asarray(self.box_scores * mean, dtype=np.float32)

    @classmethod
    def empty(cls, skeleton: Skeleton, image_size: Size, **fields: Any) -> "Poses":
        """Return the result of a picture nobody is in: arrays of shape ``(0, keypoints, 2)``."""
        keypoints = len(skeleton)
        return cls(
            xy=np.zeros((0, keypoints, 2), np.float32),
            scores=np.zeros((0, keypoints), np.float32),
            boxes=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            skeleton=skeleton,
            image_size=image_size,
            **fields,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data in the documented schema (``docs/schema.md``); numbers keep float32 precision."""
        boxes, box_scores, scores = (
            shortest_decimals(self.boxes),
            shortest_decimals(self.box_scores),
            shortest_decimals(self.score),
        )
        keypoints = shortest_decimals(np.concatenate([self.xy, self.scores[..., None]], axis=-1))
        people: list[dict[str, Any]] = [
            {
                "box_xyxy": boxes[i],
                "box_score": box_scores[i],
                "label": self.labels[i],
                "score": scores[i],
                "track_id": None if self.track_ids is None else int(self.track_ids[i]),
                "keypoints": keypoints[i],
            }
            for i in range(len(self))
        ]
        for name in _IN_DOCUMENTS:
            if getattr(self, name) is not None:
                for person, values in zip(people, shortest_decimals(getattr(self, name)), strict=True):
                    person[name] = values
        threshold = self.threshold
        return {
            "schema": SCHEMA,
            "image": {"height": self.image_size.height, "width": self.image_size.width},
            "skeleton": self.skeleton.to_dict(),
            "threshold": shortest_decimals(threshold) if isinstance(threshold, np.ndarray) else float(threshold),
            "model": self.model.to_dict(),
            "people": people,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], *, where: str = "poses", skeleton: Skeleton | None = None) -> "Poses":
        """Read what ``to_dict`` wrote.

        Args:
            plain: the document.
            where: names it in messages.
            skeleton: that of the document when the caller has it already; checking one takes ten times as long as the
                rest, and a film has as many as frames.

        Raises:
            InputError: another schema, or fields that are missing or of the wrong kind.
        """
        try:
            schema = _plain(plain, Mapping, "the document").get("schema")
            if schema != SCHEMA:
                raise InputError(f"{where}: schema is {schema!r}, this version reads {SCHEMA!r}")
            people = _plain(plain["people"], list, "people")
            threshold = _plain(plain["threshold"], int | float | list, "threshold")
            if skeleton is None:
                skeleton = Skeleton.from_dict(plain["skeleton"], where=where)
            points = np.array([person["keypoints"] for person in people], np.float32).reshape(-1, len(skeleton), 3)
            ids = [person["track_id"] for person in people]
            return cls(
                xy=points[..., :2],
                scores=points[..., 2],
                boxes=np.array([person["box_xyxy"] for person in people], np.float32).reshape(-1, 4),
                box_scores=np.array([person["box_score"] for person in people], np.float32),
                labels=tuple(_plain(person["label"], str, "a label") for person in people),
                track_ids=None if not ids or None in ids else np.array(ids, np.int64),
                skeleton=skeleton,
                image_size=Size(plain["image"]["height"], plain["image"]["width"]),
                threshold=np.array([*map(float, threshold)]) if isinstance(threshold, list) else float(threshold),
                model=Provenance.from_dict(plain["model"]),
                **{name: _of_everybody(people, name) for name in _IN_DOCUMENTS},
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UsageError) as error:
            raise InputError(f"{where}: not a valid {SCHEMA} file: {error!r}") from error

    def to_coco_results(self, image_id: int | str, *, category_id: int | Mapping[str, int] = 1) -> list[dict[str, Any]]:
        """Return COCO keypoint results, one entry a person, as pycocotools and faster-coco-eval load them.

        Args:
            image_id: the picture's id in the annotation file the results will be compared with.
            category_id: the category of everybody, or one a label.
        """
        triples = np.concatenate([self.xy, self.scores[..., None]], axis=-1)
        keypoints = shortest_decimals(triples.reshape(len(self), 3 * len(self.skeleton)))
        boxes, scores = shortest_decimals(xyxy_to_xywh(self.boxes)), shortest_decimals(self.score)
        entries = []
        for i in range(len(self)):
            entry: dict[str, Any] = {
                "image_id": image_id,
                "category_id": category_id if isinstance(category_id, int) else category_id[self.labels[i]],
                "keypoints": keypoints[i],
                "score": scores[i],
                "bbox": boxes[i],
            }
            if self.track_ids is not None:
                entry["track_id"] = int(self.track_ids[i])
            entries.append(entry)
        return entries

    def to_supervision(self) -> "supervision.KeyPoints":
        """Return a ``supervision.KeyPoints`` with all keypoints, their scores and the ``visible`` mask.

        Raises:
            MissingExtraError: ``supervision`` is not installed.
        """
        sv = require("supervision", "supervision", "to_supervision")
        data: dict[str, Any] = {"xyxy": np.array(self.boxes), "class_name": np.array(self.labels, dtype=object)}
        if self.track_ids is not None:
            data["track_id"] = np.array(self.track_ids)
        keypoints: supervision.KeyPoints = sv.KeyPoints(
            xy=np.array(self.xy),
            keypoint_confidence=np.array(self.scores),
            detection_confidence=np.array(self.box_scores),
            visible=self.visible,
            class_id=np.zeros(len(self), dtype=int),
            data=data,
        )
        return keypoints

    def to_table(self) -> "pa.Table":
        """Return a ``pyarrow.Table`` in long form: one row a person and keypoint."""
        arrow = require("pyarrow", "all", "to_table")
        people, keypoints = len(self), len(self.skeleton)
        ids = None if self.track_ids is None else np.repeat(self.track_ids, keypoints)
        table: pa.Table = arrow.table(
            {
                "person": arrow.array(np.repeat(np.arange(people, dtype=np.int32), keypoints)),
                "track_id": arrow.nulls(people * keypoints, arrow.int64()) if ids is None else arrow.array(ids),
                "label": arrow.array(list(np.repeat(np.array(self.labels, dtype=object), keypoints)), arrow.string()),
                "person_score": arrow.array(np.repeat(self.score, keypoints)),
                "box_score": arrow.array(np.repeat(self.box_scores, keypoints)),
                **{
                    name: arrow.array(np.repeat(self.boxes[:, column], keypoints))
                    for column, name in enumerate(("box_x1", "box_y1", "box_x2", "box_y2"))
                },
                "keypoint": arrow.array(list(self.skeleton.keypoints) * people, arrow.string()),
                "x": arrow.array(self.xy[..., 0].ravel()),
                "y": arrow.array(self.xy[..., 1].ravel()),
                "score": arrow.array(self.scores.ravel()),
                "visible": arrow.array(self.visible.ravel()),
                **({} if self.p_correct is None else {"p_correct": arrow.array(self.p_correct.ravel())}),
                **(
                    {}
                    if self.raw_xy is None
                    else {
                        name: arrow.array(self.raw_xy[..., axis].ravel())
                        for axis, name in enumerate(("raw_x", "raw_y"))
                    }
                ),
            }
        )
        return table


def _plain(value: Any, kind: Any, what: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{what} is {reprlib.repr(value)}")
    return value


def _of_everybody(people: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float32] | None:
    """Return a field that is left out where there is none; without people there is no telling."""
    return np.array([person[name] for person in people], np.float32) if people and name in people[0] else None


def shortest_decimals(values: ArrayLike) -> Any:
    """Return nested lists of the shortest decimals that read back to the same float32 numbers."""
    array = np.asarray(values, dtype=np.float32)
    # numpy writes float32 in its shortest exact form; one conversion of the whole array is 20 times faster than many.
    decimals = array.astype(np.str_).astype(np.float64)
    return decimals.tolist()
