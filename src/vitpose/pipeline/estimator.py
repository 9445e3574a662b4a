"""Pictures to poses: the algorithm from boxes to results; ``batches.py`` has its inner loop.

Crops of all people of all pictures in flight share batches; memory is bounded by the batch size and by a budget of
picture pixels, whatever the number of people.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitpose.codec.codec import Codec
from vitpose.core.errors import InputError, UsageError, nearest
from vitpose.core.geometry import CropTransform, Size
from vitpose.core.poses import Boxes, Poses
from vitpose.core.provenance import Provenance
from vitpose.core.skeleton import Skeleton
from vitpose.detectors.base import Detector
from vitpose.engines.base import Engine, OffersDevice
from vitpose.engines.captured import Recordings
from vitpose.engines.ondevice import DeviceLane
from vitpose.media.images import ImageSource, read_image
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.batches import Batches, Floats, Image, Lane, MemoryLane, Reading
from vitpose.pipeline.head import Head
from vitpose.pipeline.multiscale import Scales
from vitpose.pipeline.options import Options, Threshold
from vitpose.pipeline.refine import pose_boxes

BoxesLike: TypeAlias = Boxes | ArrayLike
"""``Boxes``, or ``(people, 4)`` xyxy in upright picture pixels."""

PIXELS_IN_FLIGHT = 50_000_000
"""Pictures are worked on together until they add up to this many pixels."""

IMAGES_IN_FLIGHT = 16


class PoseEstimator:
    """Finds the people in pictures and the keypoints of each.

    ``vitpose.load`` builds one from a name. Built by hand it takes objects: anything that keeps to the ``Engine`` and
    ``Detector`` protocols.
    """

    def __init__(
        self,
        heads: Mapping[str, Head],
        *,
        dataset: str | None = None,
        detector: Detector | Mapping[str, Detector | None] | None = None,
        options: Options | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        """Join the parts.

        Args:
            heads: the loaded model's decoders by dataset.
            dataset: which one to use; the first by default.
            detector: finds boxes in pictures for which none are given; one for all, or one a dataset, since what an
                animal head needs found is not people.
            options: see ``Options``.
            provenance: recorded in every result, with the options among its settings.

        Raises:
            UsageError: no head for ``dataset``; the known ones are named.
        """
        self._heads = dict(heads)
        chosen = next(iter(self._heads)) if dataset is None else dataset
        if chosen not in self._heads:
            known = ", ".join(self._heads)
            raise UsageError(
                f"the model has no head for dataset {chosen!r}{nearest(chosen, self._heads)} (it has: {known})"
            )
        self.dataset = chosen
        self._head = self._heads[chosen]
        self._detectors = detector
        self.detector = detector.get(chosen) if isinstance(detector, Mapping) else detector
        self.options = options or Options()
        limit = self.options.threshold
        self._threshold = (limit if isinstance(limit, Threshold) else Threshold(limit)).of(self.skeleton)
        crop, heatmap = self.engine.input_size, self.engine.heatmap_size
        codec = Codec.for_head(self.head, heatmap, decode_sigma=self.options.decode_sigma)
        mirror = tuple(map(int, self.skeleton.flip_indices)) if self.options.flip_test else None
        self._reading = Reading(codec, crop, mirror)
        self._recordings = Recordings(self._reading)
        scales = Scales(self.options.scales, codec, crop, heatmap)
        self._batches = Batches(scales, self.options.batch_size, len(self.skeleton))
        self._given = provenance or Provenance()
        self._provenance = replace(
            self._given,
            dataset=chosen,
            engine=self.engine.name,
            detector=self._detector_name,
            settings=tuple((dict(self._given.settings) | self.options.settings).items()),
        )

    @property
    def _detector_name(self) -> str:
        return "" if self.detector is None else self.detector.name

    def __repr__(self) -> str:
        return (
            f"PoseEstimator({self._provenance.name or 'model'!r}, dataset {self.dataset!r} of {', '.join(self._heads)},"
            f" {self.skeleton.name}, engine {self.engine.name}, detector {self._detector_name or None!r})"
        )

    @property
    def engine(self) -> Engine:
        """Crops to heatmaps: ``engine(crops_uint8) -> heatmaps`` as float32."""
        return self._head.engine

    @property
    def skeleton(self) -> Skeleton:
        """Names and edges of the keypoints in the results."""
        return self._head.skeleton

    @property
    def head(self) -> HeadSpec:
        """How the decoder in use was trained."""
        return self._head.spec

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets the loaded model has a head for."""
        return tuple(self._heads)

    def for_dataset(self, dataset: str) -> "PoseEstimator":
        """Return an estimator for another head of the same loaded model; the weights are shared."""
        return PoseEstimator(
            self._heads,
            dataset=dataset,
            detector=self._detectors,
            options=self.options,
            provenance=self._given,
        )

    def with_options(self, **changes: Any) -> "PoseEstimator":
        """Return an estimator with some ``Options`` changed; the weights are shared.

        Raises:
            UsageError: there is no such option, or its value cannot work.
        """
        known = [field.name for field in fields(Options)]
        for name in changes:
            if name not in known:
                raise UsageError(f"there is no option {name!r}{nearest(name, known)}")
        return PoseEstimator(
            self._heads,
            dataset=self.dataset,
            detector=self._detectors,
            options=replace(self.options, **changes),
            provenance=self._given,
        )

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, boxes: Sequence[Any] | None = None, dataset: str | None = None
    ) -> list[Poses]: ...

    @overload
    def __call__(self, images: ImageSource, *, boxes: BoxesLike | None = None, dataset: str | None = None) -> Poses: ...

    def __call__(self, images: Any, *, boxes: Any = None, dataset: str | None = None) -> Any:
        """Estimate the poses in one picture or in several.

        Args:
            images: one picture (path, URL, PIL image, array, bytes) or a list of them.
            boxes: skip the detector: ``(people, 4)`` xyxy in upright picture pixels, or a ``Boxes``; for a list of
                pictures, a list with one entry a picture.
            dataset: use another head for this call.

        Returns:
            A ``Poses`` for one picture, a list of them for a list.

        Raises:
            InputError: a picture cannot be read, or a box is not a box.
            UsageError: no boxes and no detector, or another number of boxes than pictures.
        """
        if dataset is not None and dataset != self.dataset:
            return self.for_dataset(dataset)(images, boxes=boxes)
        if isinstance(images, (list, tuple)):
            if boxes is not None and len(boxes) != len(images):
                raise UsageError(f"{len(boxes)} lists of boxes for {len(images)} pictures: give one a picture")
            return list(self.stream(images, boxes=boxes))
        return next(self.stream([images], boxes=None if boxes is None else [boxes]))

    def stream(self, images: Iterable[ImageSource], *, boxes: Iterable[BoxesLike] | None = None) -> Iterator[Poses]:
        """Yield the poses of each picture in order, working on several pictures at a time.

        Args:
            images: pictures, read as they are needed.
            boxes: one entry a picture, as in ``__call__``.
        """
        given = iter(boxes) if boxes is not None else None
        batch: list[Image] = []
        batch_boxes: list[Boxes] = []
        pixels = 0
        for source in images:
            image = read_image(source)
            if given is not None:
                batch_boxes.append(_given_boxes(given, image))
            batch.append(image)
            pixels += image.shape[0] * image.shape[1]
            if pixels >= PIXELS_IN_FLIGHT or len(batch) >= IMAGES_IN_FLIGHT:
                yield from self.estimate(batch, batch_boxes if given is not None else None)
                batch, batch_boxes, pixels = [], [], 0
        if batch:
            yield from self.estimate(batch, batch_boxes if given is not None else None)

    def estimate(self, images: Sequence[Image], boxes: Sequence[Boxes] | None = None) -> list[Poses]:
        """Estimate the poses in decoded upright RGB pictures that fit in memory together."""
        found = self._detect(images) if boxes is None else list(boxes)
        points, scores = self._run(images, [people.xyxy for people in found])
        poses = [self._assemble(*parts) for parts in zip(images, found, points, scores, strict=True)]
        return self._refined(images, poses) if self.options.refine else poses

    def _detect(self, images: Sequence[Image]) -> list[Boxes]:
        if self.detector is None:
            raise UsageError("no boxes were given and the estimator has no detector: pass boxes= or detector=")
        return self.detector(images)

    def _run(self, images: Sequence[Image], boxes: Sequence[NDArray[np.float32]]) -> tuple[list[Floats], list[Floats]]:
        """Return the points in picture pixels and the scores of everybody in every picture."""
        size, spec = self.engine.input_size, self.head
        transforms = [
            CropTransform.from_boxes(people, size, convention=spec.codec, square=spec.square_box) for people in boxes
        ]
        return self._batches(self._lane(images), transforms)

    def _lane(self, images: Sequence[Image]) -> Lane:
        """Work where the engine's model is, if it offers that; it may have moved or changed since the last time."""
        resident = self.engine.resident() if isinstance(self.engine, OffersDevice) else None
        if resident is None:
            return MemoryLane(images, self.engine, self._reading)
        return DeviceLane(images, resident, self._recordings)

    def _assemble(self, image: Image, boxes: Boxes, points: NDArray[np.float32], scores: NDArray[np.float32]) -> Poses:
        return Poses(
            xy=points,
            scores=scores,
            boxes=boxes.xyxy,
            box_scores=boxes.scores,
            labels=boxes.labels,
            skeleton=self.skeleton,
            image_size=Size(*image.shape[:2]),
            threshold=self._threshold,
            p_correct=self._probabilities(scores),
            # The engine may change while a long job runs, and a detector is known once it was needed: ask each time.
            model=replace(self._provenance, engine=self.engine.name, detector=self._detector_name),
        )

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        known = self._head.probabilities
        return None if known is None else known(scores, self.options)

    def _refined(self, images: Sequence[Image], poses: Sequence[Poses]) -> list[Poses]:
        """Estimate again from boxes round the first poses; who shows too few keypoints keeps the first box."""
        boxes = [pose_boxes(first) for first in poses]
        points, scores = self._run(images, boxes)
        return [
            replace(first, xy=xy, scores=new, boxes=box, p_correct=self._probabilities(new))
            for first, xy, new, box in zip(poses, points, scores, boxes, strict=True)
        ]


def _given_boxes(given: Iterator[BoxesLike], image: Image) -> Boxes:
    """Return the next picture's boxes.

    Raises:
        UsageError: there are none left.
        InputError: a box lies wholly outside the picture, so it belongs to another one.
    """
    try:
        people = next(given)
    except StopIteration:
        raise UsageError("there are more pictures than lists of boxes: give one a picture") from None
    boxes = people if isinstance(people, Boxes) else Boxes(np.asarray(people))
    height, width = image.shape[:2]
    for index, (x1, y1, x2, y2) in enumerate(boxes.xyxy):
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise InputError(
                f"box {index} [{x1:g}, {y1:g}, {x2:g}, {y2:g}] lies outside the picture, which is {width}x{height}"
            )
    return boxes
