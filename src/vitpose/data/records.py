"""Labelled people as frozen records: what every annotation format becomes and everything after reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.geometry import CONTEXT, Size, fit_aspect
from vitpose.core.skeleton import Skeleton
from vitpose.data.matching import skeleton_positions

Identifier = int | str

AREA_OF_BOX = 0.53
"""Part of its box that a person covers on average: stands in for ``area`` where a file has none (xtcocotools)."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One picture of a labelled set, with or without people.

    Attributes:
        id: as in the annotation file.
        path: of the picture; whether it exists is not checked here.
        size: in pixels, None where the file does not say.
        crowd_index: how crowded it is, 0 to 1 (CrowdPose), None elsewhere.
    """

    id: Identifier
    path: Path
    size: Size | None = None
    crowd_index: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonRecord:
    """One labelled person, animal, hand or face.

    Attributes:
        image: path of the picture.
        image_id: of the picture in its file.
        annotation_id: of the person in its file; unique in a set.
        box: ``(4,)`` float64 xyxy in upright picture pixels, as labelled (it may reach out of the picture).
        keypoints: ``(keypoints, 2)`` float32 x, y in upright picture pixels; 0, 0 where not labelled.
        visibility: ``(keypoints,)`` int8: 0 not labelled, 1 labelled but hidden, 2 visible. Files that only say
            whether a keypoint is labelled give what they give, 1 or 2.
        area: of the person in square pixels; 0.53 of the box where the file has none.
        crowd: the box covers a group that is not labelled one by one.
        label: name of the category, for instance the species.
        region: ``(4,)`` centre x, y, width, height in picture pixels that the model should see, context included, or
            None to derive it from the box.
        head_size: 0.6 of the head box's diagonal in pixels, what PCKh divides by; None where unknown.
        crowd_index: of the picture.
        track_id: of the person through a clip.
    """

    image: Path
    image_id: Identifier
    annotation_id: Identifier
    box: NDArray[np.float64]
    keypoints: NDArray[np.float32]
    visibility: NDArray[np.int8]
    area: float
    crowd: bool = False
    label: str = ""
    region: NDArray[np.float64] | None = None
    head_size: float | None = None
    crowd_index: float | None = None
    track_id: Identifier | None = None

    def __post_init__(self) -> None:
        for name in ("box", "keypoints", "visibility"):
            # A read-only view: the caller's own array stays as it was.
            view = getattr(self, name).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    @property
    def labelled(self) -> int:
        """How many keypoints are labelled, hidden ones included."""
        return int(np.count_nonzero(self.visibility))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledSet:
    """The people of one annotation file, crowds and people without keypoints included.

    Attributes:
        name: short, for messages and logs.
        skeleton: what the keypoints are.
        records: the people, in the file's order.
        images: the pictures, those without people included.
        source: the annotation file.
        images_dir: folder that the file's picture names are relative to.
        problems: what was left out, one sentence each; empty unless the reader was told to drop.
        category_ids: the file's id of each label with keypoints, where it has such ids.
    """

    name: str
    skeleton: Skeleton
    records: tuple[PersonRecord, ...]
    images: tuple[ImageEntry, ...] = ()
    source: Path = field(default_factory=Path)
    images_dir: Path = field(default_factory=Path)
    problems: tuple[str, ...] = ()
    category_ids: Mapping[str, Identifier] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def sizes(self) -> dict[Identifier, Size]:
        """Sizes of the pictures by id, where the file says them."""
        return {image.id: image.size for image in self.images if image.size is not None}

    def select(self, people: slice | Sequence[int] | Callable[[PersonRecord], bool]) -> "LabelledSet":
        """Return a part of the people, by position or by a test; the pictures stay."""
        if callable(people):
            chosen = tuple(record for record in self.records if people(record))
        elif isinstance(people, slice):
            chosen = self.records[people]
        else:
            chosen = tuple(self.records[index] for index in people)
        return replace(self, records=chosen)

    def for_training(self, minimum: int = 1) -> "LabelledSet":
        """Return the people a model can learn from, as the original release chooses them.

        Crowds, people with fewer than ``minimum`` labelled keypoints and people without area are left out.
        """
        return self.select(lambda person: not person.crowd and person.labelled >= minimum and person.area > 0)

    def split(self, share: float, *, seed: int = 0) -> tuple["LabelledSet", "LabelledSet"]:
        """Cut the set in two by picture, so that no picture is on both sides.

        Args:
            share: of the pictures that go into the second part, between 0 and 1.
            seed: of the shuffle.

        Returns:
            The larger and the smaller part, say for training and for validation.

        Raises:
            UsageError: one of the parts would be empty.
        """
        order = np.random.default_rng(seed).permutation(len(self.images))
        count = max(round(len(self.images) * share), 1) if share > 0 else 0
        if not 0 < count < len(self.images):
            raise UsageError(f"{self.name}: {share:g} of {len(self.images)} pictures leaves one part empty")
        second = {self.images[index].id for index in order[:count]}
        return self.only_images(lambda image: image not in second), self.only_images(lambda image: image in second)

    def only_images(self, keep: Callable[[Identifier], bool]) -> "LabelledSet":
        """Return the pictures whose ids pass a test, and the people in them."""
        return replace(
            self,
            records=tuple(record for record in self.records if keep(record.image_id)),
            images=tuple(image for image in self.images if keep(image.id)),
        )

    def with_keypoints_of(self, skeleton: Skeleton) -> "LabelledSet":
        """Return the same people with the keypoints of ``skeleton``, matched by name; the others are not labelled.

        Raises:
            UsageError: the skeletons have no keypoint in common.
        """
        positions = skeleton_positions(skeleton, self.skeleton)
        missing = positions < 0
        records = []
        for record in self.records:
            keypoints, visibility = record.keypoints[positions], record.visibility[positions]
            keypoints[missing], visibility[missing] = 0, 0
            records.append(replace(record, keypoints=keypoints, visibility=visibility))
        return replace(self, skeleton=skeleton, records=tuple(records))


def regions(
    records: Sequence[PersonRecord], size: Size, *, square: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what the model should see of each person, for ``CropTransform.from_regions``.

    Args:
        records: the people.
        size: of the crops; the regions get its aspect ratio.
        square: square regions, which the crop then stretches (MPII heads of the original release).

    Returns:
        ``(people, 2)`` centres and ``(people, 2)`` widths and heights, both float64 in picture pixels.
    """
    boxes = np.array([record.box for record in records], dtype=np.float64).reshape(-1, 4)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    extents = (boxes[:, 2:] - boxes[:, :2]) * CONTEXT
    for row, record in enumerate(records):
        if record.region is not None:
            centers[row], extents[row] = record.region[:2], record.region[2:]
    return centers, fit_aspect(extents, 1.0 if square else size.width / size.height)
