"""Labels that a model makes for pictures nobody has labelled, kept only where it is sure and agrees with itself."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size, as_boxes
from vitpose.core.poses import Boxes, Poses
from vitpose.data.coco_writer import write_coco
from vitpose.data.records import AREA_OF_BOX, ImageEntry, LabelledSet, PersonRecord
from vitpose.media.images import read_image
from vitpose.media.sources import Source, expand_sources, shown
from vitpose.pipeline.estimator import IMAGES_IN_FLIGHT, PIXELS_IN_FLIGHT, PoseEstimator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a made label must pass.

    Attributes:
        score: smallest keypoint score, in the picture and in its mirror image.
        distance_norm: largest distance between the two, as a part of the square root of the box's area.
        box_score: smallest score of the box.
        keypoints: a person with fewer kept keypoints is left out.
    """

    score: float = 0.5
    distance_norm: float = 0.05
    box_score: float = 0.5
    keypoints: int = 5


def make_labels(
    estimator: PoseEstimator,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    trust: Trust | None = None,
    recursive: bool = False,
    passed_over: Callable[[str, InputError], None] | None = None,
    looked_at: Callable[[int, int], None] | None = None,
) -> LabelledSet:
    """Estimate the people in pictures and write the trusted keypoints as a COCO file to train on or to correct.

    Every picture is estimated twice, as it is and mirrored; a keypoint counts where both are sure and agree. The
    others stay unlabelled, so that nothing is learned from them.

    A KeyboardInterrupt, whenever it comes, writes the labels of the pictures that are done, if there are any, and goes
    on its way.

    Args:
        estimator: a trained model with a detector.
        sources: pictures and folders on this disk; of films in folders only their number is logged.
        out: the COCO file; pictures below its folder are named relative to it.
        trust: what is kept.
        recursive: take sub-folders too.
        passed_over: told about a source that is missing, is a film or cannot be read, which then does not stop the
            others.
        looked_at: told after every few pictures how many are done, and of how many.

    Raises:
        InputError: no pictures, none that can be read, or one cannot be read or is a film and nobody wants to be told.
        UsageError: the estimator has no detector, or a picture is on the web.
    """
    rule = trust or Trust()
    paths = _pictures(sources, recursive, passed_over)
    # One entry a picture, so that an interruption finds whole pictures.
    finished: list[tuple[ImageEntry, list[PersonRecord]]] = []
    try:
        for done, chunk in _read(paths, passed_over):
            _label(estimator, chunk, rule, finished)
            if looked_at is not None:
                looked_at(done, len(paths))
        return _written(finished, estimator, Path(out), len(paths))
    except KeyboardInterrupt:
        if finished:
            _written(finished, estimator, Path(out), len(paths))
        raise


def _label(
    estimator: PoseEstimator,
    chunk: Sequence[tuple[Path, NDArray[np.uint8]]],
    trust: Trust,
    finished: list[tuple[ImageEntry, list[PersonRecord]]],
) -> None:
    """Add the pictures of a chunk, each with its people, to those that are finished."""
    pictures = [picture for _, picture in chunk]
    straight = estimator.estimate(pictures)
    boxes = [
        Boxes(mirror_boxes(poses.boxes, picture.shape[1])) for poses, picture in zip(straight, pictures, strict=True)
    ]
    mirrored = estimator.estimate([np.ascontiguousarray(picture[:, ::-1]) for picture in pictures], boxes)
    for (path, picture), poses, mirror in zip(chunk, straight, mirrored, strict=True):
        entry = ImageEntry(len(finished) + 1, path, Size(*picture.shape[:2]))
        trusted = agreement(poses, mirror, picture.shape[1], trust)
        finished.append((entry, _people(poses, trusted, entry, trust)))


def _written(
    finished: Sequence[tuple[ImageEntry, list[PersonRecord]]], estimator: PoseEstimator, out: Path, pictures: int
) -> LabelledSet:
    if not finished:
        raise InputError(f"none of the {pictures} pictures can be read")
    people = (record for _, records in finished for record in records)
    made = LabelledSet(
        name=out.stem,
        skeleton=estimator.skeleton,
        records=tuple(replace(record, annotation_id=number) for number, record in enumerate(people, 1)),
        images=tuple(entry for entry, _ in finished),
        source=out,
        images_dir=out.parent.absolute(),
    )
    write_coco(made, out)
    return made


def _pictures(
    sources: Sequence[str | Path],
    recursive: bool,
    passed_over: Callable[[str, InputError], None] | None,
) -> list[Path]:
    """Return the pictures that sources stand for.

    Raises:
        InputError: a source is missing or a film, and nobody wants to be told, or there is no picture among them.
        UsageError: a picture is on the web.
    """
    found = expand_sources(list(map(str, sources)), recursive=recursive, missing=passed_over)
    for one in found:
        if one.kind == "url":
            raise UsageError(f"{one.location} is on the web: labels name files, so fetch the picture first")
    _tell_films(sources, [one for one in found if one.kind != "image"], passed_over)
    paths = [Path(one.location).absolute() for one in found if one.kind == "image"]
    if not paths:
        raise InputError(f"there are no pictures in {', '.join(map(str, sources))}")
    return paths


def _tell_films(
    sources: Sequence[str | Path], films: Sequence[Source], passed_over: Callable[[str, InputError], None] | None
) -> None:
    """Say which sources are films: one that was named is a failure, one that merely lies in a folder is none."""
    named = {Path(source) for source in sources}
    beside = [film for film in films if film.kind == "video" and Path(film.location) not in named]
    for film in films:
        if film not in beside:
            where = shown(film.location)
            error = InputError(f"{where} is a film, and labels are made for pictures: take pictures out of it first")
            if passed_over is None:
                raise error
            passed_over(where, error)
    if beside:
        log.warning("films among the pictures are passed over: %d, %s first", len(beside), shown(beside[0].location))


def _read(
    paths: Sequence[Path], passed_over: Callable[[str, InputError], None] | None
) -> Iterator[tuple[int, list[tuple[Path, NDArray[np.uint8]]]]]:
    """Yield how many pictures were looked at, and those of them that are read, as many as fit in memory together."""
    chunk: list[tuple[Path, NDArray[np.uint8]]] = []
    pixels = 0
    for done, path in enumerate(paths, start=1):
        try:
            picture = read_image(path)
        except InputError as error:
            if passed_over is None:
                raise
            passed_over(str(path), error)
            continue
        chunk.append((path, picture))
        pixels += picture.shape[0] * picture.shape[1]
        if pixels >= PIXELS_IN_FLIGHT or len(chunk) >= IMAGES_IN_FLIGHT:
            yield done, chunk
            chunk, pixels = [], 0
    if chunk:
        yield len(paths), chunk


def _people(poses: Poses, trusted: NDArray[np.bool_], entry: ImageEntry, trust: Trust) -> list[PersonRecord]:
    """Return who is kept of the people in a picture; they are numbered when all are known."""
    records: list[PersonRecord] = []
    for person, keep in enumerate(trusted):
        if keep.sum() < trust.keypoints or poses.box_scores[person] < trust.box_score:
            continue
        box, (points, visibility) = poses.boxes[person].astype(np.float64), _labels(poses.xy[person], keep)
        records.append(
            PersonRecord(
                image=entry.path,
                image_id=entry.id,
                annotation_id=0,
                box=box,
                keypoints=points,
                visibility=visibility,
                area=float(AREA_OF_BOX * np.prod(box[2:] - box[:2])),
                label=poses.labels[person],
            )
        )
    return records


def label_people(estimator: PoseEstimator, people: LabelledSet, trust: Trust | None = None) -> LabelledSet:
    """Return those of known people the estimator is sure about, with its keypoints in the place of theirs.

    The boxes are those of the set, so no detector is asked; otherwise this is ``make_labels``.

    Args:
        estimator: a trained model, with the head whose keypoints are wanted.
        people: whose boxes are looked at; keypoints they may have are not.
        trust: what is kept; box scores play no part.

    Raises:
        InputError: a picture cannot be read.
    """
    rule = trust or Trust()
    by_picture: dict[Path, list[PersonRecord]] = defaultdict(list)
    for record in people.records:
        by_picture[record.image].append(record)
    paths = list(by_picture)
    boxes = [as_boxes([record.box for record in by_picture[path]], source=str(path)) for path in paths]
    sizes = people.sizes
    widths = [sizes[by_picture[path][0].image_id].width for path in paths]
    mirrored_boxes = [mirror_boxes(one, width) for one, width in zip(boxes, widths, strict=True)]
    straight = estimator.stream(paths, boxes=iter(boxes))
    turned = estimator.stream(_mirrored(paths), boxes=iter(mirrored_boxes))
    made: list[PersonRecord] = []
    for path, poses, mirror, width in zip(paths, straight, turned, widths, strict=True):
        trusted = agreement(poses, mirror, width, rule)
        for record, xy, keep in zip(by_picture[path], poses.xy, trusted, strict=True):
            if keep.sum() >= rule.keypoints:
                points, visibility = _labels(xy, keep)
                made.append(replace(record, keypoints=points, visibility=visibility))
    return replace(people, skeleton=estimator.skeleton, records=tuple(made))


def _mirrored(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for path in paths:
        yield np.ascontiguousarray(read_image(path)[:, ::-1])


def _labels(xy: NDArray[np.float32], keep: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Return a record's keypoints and visibility: those that are not kept are not labelled."""
    return np.where(keep[:, None], xy, 0).astype(np.float32), np.where(keep, 2, 0).astype(np.int8)


def mirror_boxes(boxes: NDArray[np.floating], width: int) -> NDArray[np.float32]:
    """Return ``(people, 4)`` xyxy boxes of a picture ``width`` pixels wide as they lie in its mirror image."""
    mirrored = np.asarray(boxes, dtype=np.float32).copy()
    mirrored[:, [0, 2]] = width - 1 - mirrored[:, [2, 0]]
    return mirrored


def agreement(poses: Poses, mirrored: Poses, width: int, trust: Trust) -> NDArray[np.bool_]:
    """Return ``(people, keypoints)``: where a picture and its mirror image are both sure and agree.

    Args:
        poses: of the picture.
        mirrored: of the mirror image, same people.
        width: of the picture in pixels.
        trust: what is asked.
    """
    swap = poses.skeleton.flip_indices
    back = mirrored.xy[:, swap].copy()
    back[..., 0] = width - 1 - back[..., 0]
    distance = np.linalg.norm(back - poses.xy, axis=-1)
    extents = poses.boxes[:, 2:] - poses.boxes[:, :2]
    limit = trust.distance_norm * np.sqrt(extents.prod(axis=1, keepdims=True))
    sure = (poses.scores >= trust.score) & (mirrored.scores[:, swap] >= trust.score)
    agreed: NDArray[np.bool_] = sure & (distance <= limit)
    return agreed
