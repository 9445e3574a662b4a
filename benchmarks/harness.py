"""What every benchmark needs: interleaved timing, a description of the machine, and one results file a question."""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

PACKAGES = ("torch", "transformers", "numpy", "opencv-python-headless", "faster-coco-eval", "pycocotools", "accelerate")


def interleaved(sides: Mapping[str, Callable[[], object]], repeats: int = 7, calls: int = 1) -> dict[str, list[float]]:
    """Time each side ``repeats`` times, taking turns, after one round to warm up; seconds a call by side.

    Turns matter: on a shared machine a slow minute then hits both sides alike. With ``calls`` above 1 a turn is so many
    calls in a row and its time their mean, as in a run over many pictures: without, every call of a few milliseconds is
    the first one after something else, with cold caches and sleeping threads.
    """
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            start = time.perf_counter()
            for _ in range(calls):
                side()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def median_ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Median of the ratios of neighbouring turns, with the smallest and the largest."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def machine() -> dict[str, Any]:
    """Describe this machine and the libraries that were measured."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        cpu = f"{len(names)} x {names[0]}" if names else cpu
    return {
        "cpu": cpu,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
    }


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def commit() -> str:
    """Return the commit that was measured, with a mark when the tree had changes."""
    shown = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return shown.stdout.strip() or "unknown"


def write_result(name: str, question: str, result: Mapping[str, Any]) -> Path:
    """Write ``results/NAME.json`` and print it."""
    document = {
        "question": question,
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        "result": dict(result),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    return path
