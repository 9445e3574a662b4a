"""How far off is a keypoint near the rim of the heatmap, by border rule?

Draws Gaussian peaks (64x48) at known distances from the left rim, adds noise, and decodes them with the original's
arithmetic (heatmap mirrored at the rim, every step taken), with the same but only the steps that make sense, and with
the codec (the peak continued beyond the rim). Errors are along x, in heatmap pixels.

    python benchmarks/border_decoding.py
"""

import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size

HEATMAP = Size(64, 48)
DISTANCES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 20.0)
REPEATS = 400
Maps = NDArray[np.float32]


def decode_original(maps: Maps, *, checked: bool = False) -> NDArray[np.float64]:
    """The original's arithmetic on whole heatmaps, x only; ``checked`` takes the steps that the codec would take."""
    found = []
    for one in maps:
        row, column = np.unravel_index(one.argmax(), one.shape)
        log = np.pad(np.log(np.clip(cv2.GaussianBlur(one, (11, 11), 0), 1e-3, 50)), 1, mode="edge").astype(np.float64)
        near = log[row : row + 3, column : column + 3]
        slope = np.array([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]]) / 2
        xx, yy = near[1, 2] - 2 * near[1, 1] + near[1, 0], near[2, 1] - 2 * near[1, 1] + near[0, 1]
        xy = (near[2, 2] - near[1, 2] - near[2, 1] + 2 * near[1, 1] - near[1, 0] - near[0, 1] + near[0, 0]) / 2
        step = -np.linalg.solve(np.array([[xx, xy], [xy, yy]]) + 1.1920929e-7 * np.eye(2), slope)
        taken = xx < 0 and xx * yy - xy * xy > 0 and np.abs(step).max() <= 1
        found.append(column + (step[0] if taken or not checked else 0.0))
    return np.array(found)


def decode_checked(maps: Maps) -> NDArray[np.float64]:
    """The original's border with the codec's rule for which steps are taken."""
    return decode_original(maps, checked=True)


def decode_continued(maps: Maps) -> NDArray[np.float64]:
    """The codec; x only."""
    return Codec().decode(maps[:, None], HEATMAP)[0][:, 0, 0].numpy().astype(np.float64)


def peaks(distance: float, sigma: float, generator: np.random.Generator) -> Maps:
    """Peaks of height 0.8 at one distance from the left rim, anywhere along it."""
    xy = np.stack([np.full(REPEATS, distance), generator.uniform(12, 51, REPEATS)], axis=-1)
    maps, _ = Codec(sigma=sigma).encode(xy[:, None], np.ones((REPEATS, 1)), HEATMAP, HEATMAP)
    return np.asarray(0.8 * maps[:, 0].numpy(), dtype=np.float32)


def white(maps: Maps, generator: np.random.Generator) -> Maps:
    """Independent noise a pixel, 2.5 % of the peak."""
    noise: Maps = generator.normal(0, 0.02, maps.shape).astype(np.float32)
    return maps + noise


def smooth(maps: Maps, generator: np.random.Generator) -> Maps:
    """Noise as smooth as a head's answers are (sigma 1.5), 5 % of the peak."""
    rough = gaussian_filter(generator.normal(size=(len(maps), 76, 60)), (0, 1.5, 1.5))[:, 6:-6, 6:-6]
    return np.asarray(maps + 0.04 * rough / rough.std(), dtype=np.float32)


def clean(maps: Maps, generator: np.random.Generator) -> Maps:
    """No noise."""
    del generator
    return maps


Noise = Callable[[Maps, np.random.Generator], Maps]
CASES: dict[str, tuple[float, Noise]] = {
    "clean": (2.0, clean),
    "white noise": (2.0, white),
    "smooth noise": (2.0, smooth),
    "narrow peak (sigma 1.7), clean": (1.7, clean),
    "wide peak (sigma 2.5), clean": (2.5, clean),
    "wide peak (sigma 2.5), smooth noise": (2.5, smooth),
}


RULES = {"original": decode_original, "checked": decode_checked, "continued": decode_continued}


def measure() -> list[dict[str, float | str]]:
    """One row a case and distance: median and root mean square error of every rule."""
    rows: list[dict[str, float | str]] = []
    for case, (sigma, noise) in CASES.items():
        for distance in DISTANCES:
            generator = np.random.default_rng(0)
            maps = noise(peaks(distance, sigma, generator), generator)
            row: dict[str, float | str] = {"case": case, "distance": distance}
            for rule, decode in RULES.items():
                error = decode(maps) - distance
                row[f"{rule}_median"] = round(float(np.median(error)), 4)
                row[f"{rule}_rms"] = round(float(np.sqrt((error**2).mean())), 4)
            rows.append(row)
    return rows


def main() -> None:
    """Measure, print and write ``benchmarks/results/border_decoding.json``."""
    folder = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    rows = measure()
    for row in rows:
        print(" | ".join(str(value) for value in row.values()))
    report = {
        "command": "python benchmarks/border_decoding.py",
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "unit": "heatmap pixels",
        "rows": rows,
    }
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results" / "border_decoding.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
