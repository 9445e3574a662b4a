import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import COCO17, series_of, standing, walker

from vitpose.core.errors import InputError, UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.motion.angle_list import AngleSpec, builtin_angle_lists, default_angles, load_angles
from vitpose.motion.angles import SURE_DEG, angle_curves, angle_deg, angle_sd_deg
from vitpose.motion.gait import analyse_gait
from vitpose.motion.measures import (
    range_of_motion,
    scale_from_length,
    side_pairs,
    speeds,
    symmetry_percent,
    time_in_posture,
)
from vitpose.motion.repetitions import count_repetitions
from vitpose.motion.smooth import smooth

KNEE = AngleSpec(name="left_knee_flexion", keypoints=("left_hip", "left_knee", "left_ankle"), sign=-1, zero_deg=180)


def squatting(flexion_deg: np.ndarray) -> np.ndarray:
    """The left shank turns about a knee that stays."""
    xy = standing(len(flexion_deg))
    hip, knee, ankle = (COCO17.index(f"left_{part}") for part in ("hip", "knee", "ankle"))
    thigh = xy[:, knee] - xy[:, hip]
    turn = np.deg2rad(flexion_deg)
    cosine, sine = np.cos(turn), np.sin(turn)
    xy[:, ankle] = xy[:, knee] + np.stack(
        [cosine * thigh[:, 0] - sine * thigh[:, 1], sine * thigh[:, 0] + cosine * thigh[:, 1]], axis=1
    )
    return xy


def test_angles_by_hand() -> None:
    corner = np.array([[0.0, 0], [10, 0], [10, 10]])
    assert angle_deg(corner) == pytest.approx(90)
    assert angle_deg(corner, signed=True) == pytest.approx(-90)
    assert angle_deg(corner[::-1], signed=True) == pytest.approx(90)
    parallel = np.array([[0.0, 0], [5, 0], [0, 3], [5, 3]])
    assert angle_deg(parallel) == pytest.approx(0)
    down = np.array([[0.0, 0], [5, 0], [0, 0], [0, 5]])  # y points down: right to down is clockwise
    assert angle_deg(down, signed=True) == pytest.approx(90)


@given(turn=st.floats(-3, 3), scale=st.floats(0.5, 4), seed=st.integers(0, 99))
@settings(deadline=None)
def test_angles_do_not_depend_on_place_size_or_turn(turn: float, scale: float, seed: int) -> None:
    points = np.random.default_rng(seed).random((4, 2)) * 100
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = scale * points @ rotation.T + (30, -20)
    for count in (3, 4):
        assert angle_deg(moved[:count], signed=True) == pytest.approx(angle_deg(points[:count], signed=True), abs=1e-6)


@pytest.mark.parametrize("count", [3, 4])
def test_uncertainty_agrees_with_a_simulation(count: int, rng: np.random.Generator) -> None:
    points = np.array([[0.0, 0], [60, 10], [80, 70], [20, 90]])[:count]
    sds = np.array([2.0, 1.0, 3.0, 1.5])[:count]
    drawn = points + rng.normal(size=(20_000, count, 2)) * sds[:, None]
    spread = np.std(angle_deg(drawn, signed=True))
    assert angle_sd_deg(points, sds) == pytest.approx(spread, rel=0.03)


def test_curves_velocity_and_acceleration_of_known_motion() -> None:
    times = np.arange(120) / 60.0
    flexion = 50 + 40 * np.sin(2 * np.pi * 0.5 * times)
    (curve,) = angle_curves(series_of(squatting(flexion), times), [KNEE], window_s=0.1)
    np.testing.assert_allclose(curve.deg, flexion, atol=1e-6)
    inner = slice(5, -5)
    np.testing.assert_allclose(curve.velocity_deg_s[inner], (40 * np.pi * np.cos(np.pi * times))[inner], atol=1.0)
    np.testing.assert_allclose(
        curve.acceleration_deg_s2[inner], (-40 * np.pi**2 * np.sin(np.pi * times))[inner], atol=5.0
    )


def test_a_low_score_makes_an_angle_less_sure() -> None:
    times = np.arange(10) / 30
    scores = np.ones((10, 17))
    scores[5, COCO17.index("left_knee")] = 0.2
    (curve,) = angle_curves(series_of(standing(10), times, scores=scores), [KNEE])
    assert curve.sd_deg[5] > 2 * curve.sd_deg[4]
    np.testing.assert_allclose(curve.sd_deg[[0, 9]], curve.sd_deg[4])


def test_a_signed_angle_runs_on() -> None:
    times = np.arange(80) / 30
    turn = 2 * np.pi * 0.8 * times
    xy = standing(80)
    ends = {"left_hip": (-20, 0), "right_hip": (20, 0)}
    for name, (x, y) in ends.items():
        xy[:, COCO17.index(name)] = 200 + np.stack(
            [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1
        )
    spec = AngleSpec(name="turn", keypoints=("left_shoulder", "right_shoulder", "left_hip", "right_hip"), signed=True)
    (curve,) = angle_curves(series_of(xy, times), [spec])
    assert np.ptp(curve.deg) == pytest.approx(np.rad2deg(turn[-1]), abs=1e-6)
    np.testing.assert_allclose(curve.velocity_deg_s, 288, atol=1)


@pytest.mark.parametrize("name", builtin_angle_lists())
def test_the_lists_that_come_with_the_package(name: str) -> None:
    skeleton = load_skeleton(name)
    specs = load_angles(name, skeleton)
    names = [spec.name for spec in specs]
    assert {f"{side}_{part}" for side in ("left", "right") for part in ("knee_flexion", "elbow_flexion")} <= set(names)
    assert len(side_pairs(names)) == sum("left" in one for one in names)
    curves = angle_curves(series_of(standing(3, skeleton), np.arange(3) / 30, skeleton=skeleton), specs)
    knee = next(curve for curve in curves if curve.spec.name == "left_knee_flexion")
    np.testing.assert_allclose(knee.deg, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[angle]]\nname = "a"\nkeypoints = ["left_hip", "left_kne", "left_ankle"]', "line 1.*left_kne.*left_knee"),
        ('\n\n[[angle]]\nname = "a"\nkeypoints = ["left_hip"]', "line 3.*three or four"),
        ('[[angle]]\nname = "a"\nsing = 1\nkeypoints = ["left_hip", "left_knee", "left_ankle"]', "'sing'.*'sign'"),
        ('[[angle]]\nname = "a"\nsign = 2\nkeypoints = ["left_hip", "left_knee", "left_ankle"]', "1 or -1"),
        ("angle = 3", r"one or more \[\[angle\]\]"),
        ("[[angle", "not valid TOML"),
    ],
)
def test_wrong_lists_say_where(text: str, message: str, tmp_path) -> None:
    path = tmp_path / "angles.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_angles(path, COCO17)


@pytest.mark.parametrize("name", ["coco25", "wholebody133", "halpe136", "humanart17", "mpii16"])
def test_a_skeleton_without_a_list_of_its_own_gets_what_suits_it(name: str) -> None:
    skeleton = load_skeleton(name)
    specs = default_angles(skeleton)
    assert {"left_knee_flexion", "right_elbow_flexion"} <= {spec.name for spec in specs}
    assert all(set(spec.keypoints) <= set(skeleton.keypoints) for spec in specs)
    assert default_angles(COCO17) == load_angles("coco17", COCO17)


def test_a_face_has_no_angles() -> None:
    with pytest.raises(UsageError, match=r"face68.*toml"):
        default_angles(load_skeleton("face68"))


def test_an_unknown_list_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'coco17'"):
        load_angles("coco_17", COCO17)


def test_range_of_motion_and_symmetry() -> None:
    times = np.arange(200) / 50
    flexion = 45 - 35 * np.cos(2 * np.pi * times)
    (curve,) = angle_curves(series_of(squatting(flexion), times), [KNEE])
    found = range_of_motion(curve, trim=0.0)
    assert (found.low_deg, found.high_deg, found.extent_deg) == pytest.approx((10, 80, 70), abs=1e-5)
    assert symmetry_percent(50, 50) == 0
    assert symmetry_percent(60, 40) == pytest.approx(40)
    assert symmetry_percent(60, 40) == -symmetry_percent(40, 60)
    unsure = angle_curves(series_of(squatting(flexion), times, scores=np.zeros((200, 17))), [KNEE])[0]
    assert range_of_motion(unsure) is None


def test_speeds_in_pixels_and_metres() -> None:
    times = np.cumsum(np.full(60, 1 / 30) + np.tile([0.0, 0.01], 30))
    xy = standing(60)
    xy[..., 0] += 90 * times[:, None]
    xy[..., 1] += -40 * times[:, None]
    pixels = speeds(series_of(xy, times))
    np.testing.assert_allclose(pixels.velocity, np.broadcast_to([90, -40], xy.shape), atol=1e-3)
    np.testing.assert_allclose(pixels.speed, np.hypot(90, 40), atol=1e-3)
    np.testing.assert_allclose(pixels.acceleration, 0, atol=0.05)
    metres = speeds(series_of(xy, times), metres_per_px=0.01)
    np.testing.assert_allclose(metres.speed, np.hypot(0.9, 0.4), atol=1e-5)
    assert (pixels.unit, metres.unit) == ("px", "m")


def test_scale_from_a_known_length() -> None:
    series = series_of(standing(20), np.arange(20) / 30)
    scale = scale_from_length(series, "left_hip", "left_ankle", 0.75)
    assert scale.metres_per_px == pytest.approx(0.01)  # the two are 75 px apart
    assert 0 < scale.sd < scale.metres_per_px
    with pytest.raises(InputError, match="above 0"):
        scale_from_length(series, "left_hip", "left_ankle", 0)
    unseen = series_of(standing(20), np.arange(20) / 30, scores=np.zeros((20, 17)))
    with pytest.raises(InputError, match="never seen together"):
        scale_from_length(unseen, "left_hip", "left_ankle", 0.75)


@given(count=st.integers(1, 8), seconds=st.floats(1.0, 4.0), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=40)
def test_repetitions_are_counted_and_timed(count: int, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(0, count * seconds + 1.0, 1 / 30)
    flexion = np.where(times < count * seconds, 45 - 45 * np.cos(2 * np.pi * times / seconds), 0)
    found = count_repetitions(flexion + rng.normal(0, 1.5, len(times)), times, least=30)
    assert len(found) == count
    for i, repetition in enumerate(found):
        assert repetition.turn_s == pytest.approx((i + 0.5) * seconds, abs=0.1 * seconds)
        assert repetition.amplitude == pytest.approx(90, abs=12)
        assert sum(repetition.phases_s) == pytest.approx(repetition.end_s - repetition.start_s)


def test_an_exercise_may_fill_little_of_the_time() -> None:
    times = np.arange(0, 180, 1 / 30)
    flexion = np.where((times > 60) & (times < 66), 50 - 50 * np.cos(2 * np.pi * (times - 60) / 3), 0)
    found = count_repetitions(flexion, times, least=30)
    assert [round(one.turn_s, 1) for one in found] == [61.5, 64.5]


def test_angles_nobody_knows_count_for_nothing() -> None:
    xy = squatting(np.full(60, 90.0))
    known, guessed = (series_of(xy, np.arange(60) / 30, scores=np.full(xy.shape[:2], score)) for score in (0.9, 0.02))
    limits = {"left_knee_flexion": (70.0, 140.0)}
    inside, seen = time_in_posture(angle_curves(known, [KNEE]), limits)
    assert inside == pytest.approx(seen) == pytest.approx(59 / 30)
    inside, seen = time_in_posture(angle_curves(guessed, [KNEE]), limits)
    assert (inside, seen) == (0, pytest.approx(59 / 30))


def test_who_turns_round_ends_no_whole_turn_away() -> None:
    tilt = AngleSpec(name="tilt", keypoints=("left_shoulder", "right_shoulder", "left_hip", "right_hip"), signed=True)
    times = np.arange(90) / 30
    xy, scores = standing(90), np.full((90, 17), 0.9)
    middle = xy.mean(axis=1, keepdims=True)[..., 0]
    # Seen from the front, from the side and from behind; from the side the directions are noise, and turn once about.
    xy[..., 0] = middle + (xy[..., 0] - middle) * np.cos(np.pi * times / times[-1])[:, None]
    turn = np.linspace(0, 2 * np.pi, 30)
    for part, sign in (("left_shoulder", -1), ("right_shoulder", 1)):
        place = COCO17.index(part)
        xy[30:60, place] = xy[30:60, [COCO17.index("left_shoulder")]].mean(axis=1)
        xy[30:60, place, 0] += sign * np.cos(turn)
        xy[30:60, place, 1] += sign * np.sin(turn)
    (curve,) = angle_curves(series_of(xy, times, scores=scores), [tilt])
    assert curve.sd_deg[45] > SURE_DEG
    assert abs(curve.deg[0]) < 10
    assert abs(curve.deg[-1]) < 10


def test_what_is_no_repetition() -> None:
    times = np.arange(90) / 30
    assert count_repetitions(np.sin(times * 20), times, least=30) == []
    assert count_repetitions(np.linspace(0, 90, 90), times, least=30) == []  # bends down and stays there
    assert count_repetitions(np.zeros(0), np.zeros(0), least=30) == []
    push_up = 160 - (45 - 45 * np.cos(2 * np.pi * times))
    assert len(count_repetitions(push_up, times, least=30, rest="high")) == 3


def test_no_stride_spans_a_pause_and_hips_must_be_seen() -> None:
    skeleton = load_skeleton("halpe26")
    times = np.arange(0, 12, 1 / 60)
    xy = walker(times, stride_s=1.1, speed=80, skeleton=skeleton)
    whole = analyse_gait(series_of(xy, times, skeleton=skeleton))
    there = (times < 5) | (times > 8.3)
    broken = analyse_gait(series_of(xy[there], times[there], skeleton=skeleton))
    assert broken.cadence_per_min == pytest.approx(whole.cadence_per_min, rel=0.02)
    for side in ("left", "right"):
        assert broken.stance_percent[side] == pytest.approx(whole.stance_percent[side], abs=2)
    scores = np.full(xy.shape[:2], 0.9)
    scores[:, skeleton.index("left_hip")] = 0.1
    assert not analyse_gait(series_of(xy, times, skeleton=skeleton, scores=scores)).events


@pytest.mark.parametrize("name", ["coco17", "halpe26"])
@pytest.mark.parametrize("direction", [1, -1])
def test_gait_of_a_known_walker(name: str, direction: int, rng: np.random.Generator) -> None:
    skeleton = load_skeleton(name)
    times = np.arange(0, 5, 1 / 60)
    xy = walker(times, stride_s=1.1, speed=80, skeleton=skeleton)
    xy[..., 0] *= direction
    gait = analyse_gait(smooth(series_of(xy + rng.normal(0, 1.0, xy.shape), times, skeleton=skeleton)))
    assert gait.cadence_per_min == pytest.approx(120 / 1.1, rel=0.02)
    for side, late in (("left", 0.0), ("right", 0.55)):
        strikes = [e.time_s for e in gait.events if (e.side, e.kind) == (side, "heel_strike")]
        expected = [late + 1.1 * k for k in range(6) if 0.1 < late + 1.1 * k < 4.9]
        assert strikes == pytest.approx(expected, abs=1.5 / 60)
        assert gait.stride_s[side] == pytest.approx(1.1, abs=0.02)
        assert gait.stance_percent[side] == pytest.approx(50, abs=3)


def test_a_treadmill_needs_a_direction() -> None:
    times = np.arange(0, 4, 1 / 60)
    xy = walker(times, stride_s=1.0, speed=0, skeleton=COCO17)
    with pytest.raises(InputError, match="treadmill"):
        analyse_gait(series_of(xy, times))
    gait = analyse_gait(series_of(xy, times), direction="right")
    assert gait.cadence_per_min == pytest.approx(120, rel=0.02)
    flipped = analyse_gait(series_of(xy, times), direction="left")
    assert [e.kind for e in flipped.events] != [e.kind for e in gait.events]


def test_somebody_who_stands_has_no_gait() -> None:
    gait = analyse_gait(series_of(standing(60), np.arange(60) / 30), direction="right")
    assert gait.events == ()
    assert gait.cadence_per_min is None


def test_time_in_posture() -> None:
    times = np.arange(0, 10, 0.1)
    flexion = np.where(times < 4, 80.0, 5.0)
    curves = angle_curves(series_of(squatting(flexion), times), [KNEE])
    inside, seen = time_in_posture(curves, {"left_knee_flexion": (60, 100)})
    assert inside == pytest.approx(4.0, abs=0.06)
    assert seen == pytest.approx(9.9)
    assert time_in_posture(curves, {}) == (seen, seen)
    gap = times.copy()
    gap[50:] += 30
    assert time_in_posture(angle_curves(series_of(squatting(flexion), gap), [KNEE]), {})[1] == pytest.approx(9.8)
    with pytest.raises(InputError, match="names the angle 'hip'"):
        time_in_posture(curves, {"hip": (0, 1)})
