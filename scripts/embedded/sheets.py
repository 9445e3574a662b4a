"""Pictures of what a pair finds: a contact sheet to look at, and the same skeletons on blank for the documentation."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import VitPoseError
from vitpose.media.images import read_image
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.rendering.draw import draw_poses

PICTURES, COLUMNS, TILE = 30, 6, 320
"""How many pictures a sheet has, how many side by side, and the side of each in pixels."""


def contact_sheet(estimator: PoseEstimator, paths: Sequence[Path], out: Path, *, pictures: int = PICTURES) -> None:
    """Draw what an estimator finds in pictures spread evenly over a list.

    ``contact.jpg`` shows the photographs: look at it, do not publish it. ``skeletons.png`` shows the same people on
    white.

    Args:
        estimator: with a detector.
        paths: pictures to choose from.
        out: folder for the two files.
        pictures: how many at most.

    Raises:
        InputError: a picture cannot be read.
        VitPoseError: a sheet cannot be written.
    """
    drawn, blank = [], []
    for path in paths[:: max(len(paths) // pictures, 1)][:pictures]:
        picture = read_image(path)
        poses = estimator(picture)
        drawn.append(_tile(draw_poses(picture, poses)))
        blank.append(_tile(draw_poses(np.full_like(picture, 255), poses)))
    _write(out / "contact.jpg", _sheet(drawn))
    small = cv2.resize(_sheet(blank), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    _write(out / "skeletons.png", np.asarray(small, np.uint8))


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = TILE / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
    tile = np.full((TILE, TILE, 3), 230, np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return tile


def _sheet(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    empty = np.full((TILE, TILE, 3), 255, np.uint8)
    padded = [*tiles, *[empty] * (-len(tiles) % COLUMNS)]
    return np.concatenate(
        [np.concatenate(padded[i : i + COLUMNS], axis=1) for i in range(0, len(padded), COLUMNS)] or [empty]
    )


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(path.suffix, picture[..., ::-1])
    if not done:
        raise VitPoseError(f"{path}: OpenCV cannot write this kind of picture")
    path.write_bytes(data.tobytes())
