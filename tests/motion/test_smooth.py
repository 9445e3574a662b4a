import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from synthetic import series_of, standing

from vitpose.core.errors import UsageError
from vitpose.motion.butterworth import smooth_butterworth
from vitpose.motion.kalman import smooth_rts
from vitpose.motion.local_fit import fit_derivatives, smooth_savitzky_golay
from vitpose.motion.online import KalmanFilter
from vitpose.motion.settings import OFFLINE, ONLINE, SmoothingSettings
from vitpose.motion.smooth import smooth, smooth_arrays

METHODS = [method for method in (*ONLINE, *OFFLINE) if method != "none"]


def even(rows: int) -> np.ndarray:
    return np.arange(rows) / 30.0


def noisy(rng: np.random.Generator, rows: int = 120, keypoints: int = 3) -> np.ndarray:
    t = even(rows)[:, None, None]
    base = 100 * np.sin(2 * np.pi * 0.7 * t + np.arange(keypoints)[None, :, None]) + np.array([300.0, 200.0])
    return base + rng.normal(0, 2, (rows, keypoints, 2))


def jitter(xy: np.ndarray) -> float:
    return float(np.sqrt((np.diff(xy, 2, axis=0) ** 2).mean()))


def run(method: str, xy: np.ndarray, times: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    weights = np.ones(xy.shape[:2]) if weights is None else weights
    return smooth_arrays(xy, weights, times, settings=SmoothingSettings(method=method), size=100.0)


def test_butterworth_is_scipys_forwards_and_backwards(rng: np.random.Generator) -> None:
    xy = noisy(rng, 400)
    b, a = signal.butter(2, 4.0, fs=30.0)
    theirs = signal.filtfilt(b, a, xy, axis=0)
    ours = smooth_butterworth(xy, np.ones(xy.shape[:2]), even(400), 4.0)
    # The two filters differ in how they leave continuous time behind, mostly near half the frame rate.
    assert np.abs(ours - theirs)[40:-40].max() < 0.35
    assert np.abs(ours - xy)[40:-40].max() > 3


@pytest.mark.parametrize("cutoff", [1.0, 3.0, 6.0])
def test_butterworth_halves_the_cutoff_frequency(cutoff: float) -> None:
    times = even(900)
    wave = np.sin(2 * np.pi * cutoff * times)[:, None, None] * np.ones((1, 1, 2))
    out = smooth_butterworth(wave, np.ones((900, 1)), times, cutoff)
    np.testing.assert_allclose(out[300:600], 0.5 * wave[300:600], atol=1e-3)


@pytest.mark.parametrize("order", [2, 3])
def test_savitzky_golay_is_scipys(rng: np.random.Generator, order: int) -> None:
    xy = noisy(rng)
    ours = smooth_savitzky_golay(xy, np.ones(xy.shape[:2]), even(120), window_s=10 / 30, order=order)
    theirs = signal.savgol_filter(xy, 11, order, axis=0)
    np.testing.assert_allclose(ours[5:-5], theirs[5:-5], atol=1e-5)


def test_derivatives_of_a_parabola_are_exact_at_uneven_times(rng: np.random.Generator) -> None:
    times = np.sort(rng.random(60)) * 3
    values = 4 + 3 * times - 2 * times**2
    fitted = fit_derivatives(values[:, None], np.ones((60, 1)), times, window_s=1.0, order=2)[..., 0]
    np.testing.assert_allclose(fitted[0], values, atol=1e-4)
    np.testing.assert_allclose(fitted[1], 3 - 4 * times, atol=1e-3)
    np.testing.assert_allclose(fitted[2], -4, atol=1e-2)


def test_rts_is_the_best_linear_estimate_at_once() -> None:
    """The smoother equals generalised least squares over the whole curve, computed without any recursion."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(0.02, 0.06, 12))
    measured = rng.normal(0, 5, (12, 1, 2))
    noise, acceleration, speed = 2.0, 30.0, 40.0
    covariance = np.zeros((24, 24))
    covariance[:2, :2] = np.diag([1e9, speed**2])
    for i in range(1, 12):
        dt = times[i] - times[i - 1]
        step = np.array([[1, dt], [0, 1.0]])
        density = acceleration**2 * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        here, before = slice(2 * i, 2 * i + 2), slice(2 * i - 2, 2 * i)
        covariance[here, : 2 * i] = step @ covariance[before, : 2 * i]
        covariance[: 2 * i, here] = covariance[here, : 2 * i].T
        covariance[here, here] = step @ covariance[before, before] @ step.T + density
    pick = np.zeros((12, 24))
    pick[np.arange(12), 2 * np.arange(12)] = 1
    gain = covariance @ pick.T @ np.linalg.inv(pick @ covariance @ pick.T + noise**2 * np.eye(12))
    expected = pick @ gain @ measured[:, 0]
    ours = smooth_rts(measured, np.full((12, 1), noise**2), times, acceleration=acceleration, speed=speed)
    np.testing.assert_allclose(ours[:, 0], expected, atol=1e-3)


def test_the_kalman_filter_ends_where_the_smoother_ends(rng: np.random.Generator) -> None:
    xy = noisy(rng)
    filtered, both = run("kalman", xy, even(120)), run("rts", xy, even(120))
    np.testing.assert_allclose(filtered[-1], both[-1], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_jitter_is_at_least_halved_and_the_motion_stays(method: str, rng: np.random.Generator) -> None:
    clean = 30 * np.sin(2 * np.pi * 0.7 * even(300)[:, None, None] + np.arange(3)[None, :, None]) * np.ones(2)
    noisy_xy = clean + rng.normal(0, 2, clean.shape)
    out = run(method, noisy_xy, even(300))
    assert jitter(out) < jitter(noisy_xy) / (2 if method != "one_euro" else 1.5)  # it lets fast motion through
    assert np.abs(out - clean)[10:-10].mean() < np.abs(noisy_xy - clean).mean()


@pytest.mark.parametrize("method", METHODS)
def test_a_person_at_rest_stays_where_she_is(method: str) -> None:
    xy = np.tile(np.array([[[10.0, 20.0], [30.0, 40.0]]]), (50, 1, 1))
    np.testing.assert_allclose(run(method, xy, even(50)), xy, atol=1e-5)


@pytest.mark.parametrize("method", ["butterworth", "savitzky_golay", "rts"])
def test_offline_methods_have_no_direction(method: str, rng: np.random.Generator) -> None:
    xy, times = noisy(rng), np.cumsum(rng.uniform(0.02, 0.05, 120))
    out = run(method, xy, times)
    back = run(method, xy[::-1], (times[-1] - times)[::-1])[::-1]
    # RTS knows the usual speed at the start only, which is forgotten within a few rows.
    np.testing.assert_allclose(out[15:-15], back[15:-15], atol=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_a_doubtful_position_pulls_less(method: str) -> None:
    xy = np.tile(np.array([[[100.0, 100.0]]]), (40, 1, 1))
    xy[20] += 30
    sure, doubtful = np.ones((40, 1)), np.ones((40, 1))
    doubtful[20] = 0.0025
    pulled = np.abs(run(method, xy, even(40), sure) - 100).max()
    assert pulled > 3
    assert np.abs(run(method, xy, even(40), doubtful) - 100).max() < pulled / 5


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_smoothed_across_a_gap(method: str, rng: np.random.Generator) -> None:
    xy = noisy(rng, 60, 17)
    times = even(60).copy()
    times[30:] += 2.0
    whole = smooth(series_of(xy, times), SmoothingSettings(method=method)).xy
    first = smooth(series_of(xy[:30], times[:30]), SmoothingSettings(method=method)).xy
    second = smooth(series_of(xy[30:], times[30:]), SmoothingSettings(method=method)).xy
    np.testing.assert_allclose(whole, np.concatenate([first, second]), atol=1e-9)


@given(rows=st.integers(0, 4), method=st.sampled_from(METHODS))
@settings(deadline=None)
def test_the_shortest_tracks_pass(rows: int, method: str) -> None:
    out = smooth(series_of(standing(rows), even(rows)), SmoothingSettings(method=method))
    assert out.xy.shape == (rows, 17, 2)
    assert np.isfinite(out.xy).all()


def test_raw_positions_stay_beside(rng: np.random.Generator) -> None:
    xy = noisy(rng, 50, 17)
    before = series_of(xy, even(50))
    after = smooth(before)
    np.testing.assert_array_equal(after.raw_xy, xy)
    np.testing.assert_array_equal(before.xy, xy)
    assert np.abs(after.xy - xy).max() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_time_is_measured_in_seconds(method: str, rng: np.random.Generator) -> None:
    """Leaving out every other frame of smooth motion changes the curve little: cutoffs are hertz, not frames."""
    times = np.arange(240) / 60.0
    xy = 50 * np.sin(2 * np.pi * 0.5 * times)[:, None, None] * np.ones((1, 1, 2))
    fine, coarse = run(method, xy, times)[::2], run(method, xy[::2], times[::2])
    assert np.abs(fine - coarse)[20:-20].max() < 1.5


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'butterworth'"):
        SmoothingSettings(method="buterworth")
    with pytest.raises(UsageError, match="cutoff_hz is 0"):
        SmoothingSettings(cutoff_hz=0)
    with pytest.raises(UsageError, match="max_gap_s is -1"):
        SmoothingSettings(max_gap_s=-1)


def test_the_first_velocity_is_forgotten(rng: np.random.Generator) -> None:
    times = np.arange(90) / 30.0
    xy = (200 * times)[:, None, None] * np.ones((1, 1, 2))
    slow, fast = (KalmanFilter(noise=2, acceleration=200, speed=speed) for speed in (1.0, 1000.0))
    ends = [[one.step(row, np.ones(1), 1 / 30) for row in xy][-1] for one in (slow, fast)]
    np.testing.assert_allclose(*ends, atol=0.01)
