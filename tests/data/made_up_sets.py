"""Small labelled sets of invented people."""

from pathlib import Path

import numpy as np
from PIL import Image

from vitpose.core.geometry import Size
from vitpose.core.skeleton import Skeleton
from vitpose.data.records import ImageEntry, LabelledSet, PersonRecord


def make_set(skeleton: Skeleton, people: int = 2, folder: Path = Path("pictures"), seed: int = 0) -> LabelledSet:
    """Return two people a picture of 120 x 90; every third is a crowd or has nothing labelled."""
    rng = np.random.default_rng(seed)
    count = -(-people // 2)
    images = tuple(ImageEntry(index, folder / f"{index:03d}.png", Size(90, 120)) for index in range(count))
    records = []
    for number in range(people):
        corner = rng.uniform(0, 40, 2)
        box = np.concatenate([corner, corner + rng.uniform(20, 45, 2)])
        visibility = rng.integers(0, 3, len(skeleton)).astype(np.int8)
        if number % 3 == 1:
            visibility[:] = 0
        keypoints = rng.uniform(box[:2], box[2:], (len(skeleton), 2)).astype(np.float32)
        keypoints[visibility == 0] = 0
        records.append(
            PersonRecord(
                image=images[number // 2].path,
                image_id=images[number // 2].id,
                annotation_id=number,
                box=box,
                keypoints=keypoints,
                visibility=visibility,
                area=float(np.prod(box[2:] - box[:2])) * 0.5,
                crowd=number % 6 == 5,
                label="person",
            )
        )
    return LabelledSet(name="made up", skeleton=skeleton, records=tuple(records), images=images, images_dir=folder)


def draw_pictures(labelled: LabelledSet, seed: int = 0) -> None:
    """Write the set's pictures: smooth noise, so that half a pixel's shift shows without being all there is."""
    rng = np.random.default_rng(seed)
    labelled.images_dir.mkdir(parents=True, exist_ok=True)
    for image in labelled.images:
        assert image.size is not None
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((image.size.width, image.size.height), Image.Resampling.BICUBIC).save(image.path)
