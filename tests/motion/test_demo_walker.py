"""A walking person seen by calibrated cameras: angles from one picture plane against those from three dimensions.

The keypoints are OpenPose's, the reference the markers triangulated from four cameras (the demo of Pose2Sim).
"""

import json
from pathlib import Path

import numpy as np
import pytest

from vitpose.core.geometry import Size
from vitpose.core.poses import Poses
from vitpose.core.skeleton import load_skeleton
from vitpose.motion.analyse import AnalysisSettings, PersonMotion, analyse
from vitpose.motion.angle_list import default_angles

SKELETON = load_skeleton("coco25")
RATE = 60.0


def own_name(name: str) -> str:
    """``LBigToe`` is ``left_big_toe`` here."""
    parts = {"BigToe": "big_toe", "SmallToe": "small_toe"}
    for letter, side in (("L", "left"), ("R", "right")):
        if name.startswith(letter) and name[1].isupper():
            return f"{side}_{parts.get(name[1:], name[1:].lower())}"
    return name.lower()


def seen_by(folder: Path, camera: str) -> PersonMotion:
    """Analyse what one camera saw."""
    plain = json.loads((folder / "pose-associated" / f"{camera}.json").read_text(encoding="utf-8"))
    frames = []
    for people in plain["frames"]:
        points = np.zeros((len(SKELETON), 3))
        for name, point in zip(plain["keypoints"], np.array(people[0]).reshape(-1, 3), strict=True):
            if own_name(name) in SKELETON.keypoints:
                points[SKELETON.index(own_name(name))] = point
        known = points[points[:, 2] > 0, :2]
        frames.append(
            Poses(
                xy=points[None, :, :2],
                scores=points[None, :, 2],
                boxes=[[*known.min(axis=0), *known.max(axis=0)]],
                box_scores=[1.0],
                track_ids=[1],
                skeleton=SKELETON,
                image_size=Size(1920, 1088),
            )
        )
    times = tuple(i / RATE for i in range(len(frames)))
    (person,) = analyse(tuple(frames), times, default_angles(SKELETON), AnalysisSettings())
    return person


def marker_flexion_deg(path: Path, side: str) -> np.ndarray:
    """Return the knee's flexion from the markers' positions in space."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name]
    rows = np.array([[float(cell) for cell in line.split("\t")[: 2 + 3 * len(names)]] for line in lines[5:] if line])
    hip, knee, ankle = (rows[:, 2 + 3 * names.index(side + part) :][:, :3] for part in ("Hip", "Knee", "Ankle"))
    thigh, shank = hip - knee, ankle - knee
    cosine = (thigh * shank).sum(axis=1) / np.linalg.norm(thigh, axis=1) / np.linalg.norm(shank, axis=1)
    return 180 - np.rad2deg(np.arccos(cosine))


@pytest.mark.parametrize("camera", ["cam02", "cam04"])
def test_the_knee_that_is_seen_from_the_side_bends_as_in_space(shared: Path, camera: str) -> None:
    folder = shared / "data" / "multiview" / "single"
    truth = marker_flexion_deg(folder / "pose-3d" / "S00_P00_T01_BalancingTrial_0-100_filt_butterworth.trc", "R")
    person = seen_by(folder, camera)
    curve = next(one for one in person.curves if one.spec.name == "right_knee_flexion")
    assert len(curve.deg) == len(truth) == 100
    assert np.median(np.abs(curve.deg - truth)) < 8
    assert np.corrcoef(curve.deg, truth)[0, 1] > 0.9
    assert abs(int(np.argmax(curve.deg)) - int(np.argmax(truth))) / RATE < 0.1


def test_the_range_of_motion_is_that_of_the_markers(shared: Path) -> None:
    folder = shared / "data" / "multiview" / "single"
    truth = marker_flexion_deg(folder / "pose-3d" / "S00_P00_T01_BalancingTrial_0-100_filt_butterworth.trc", "R")
    found = seen_by(folder, "cam02").ranges["right_knee_flexion"]
    assert found is not None
    assert found.high_deg - found.low_deg == pytest.approx(np.ptp(truth), abs=6)
    assert abs(found.high_deg - truth.max()) < found.sd_deg
