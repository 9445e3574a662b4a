"""Does memory stay flat whatever a film's length?

The whole pipeline, with tracking, smoothing in a second pass, journal, annotated film and CSV, over 1,000 and 100,000
frames of 128 x 96 pixels with an engine that costs nothing, each in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/video_memory.py [--frames 1000 100000]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import write_result

FRAMES = (1_000, 100_000)


def measure(frames: int) -> dict[str, float]:
    """Work through one film in this process."""
    import torch
    from tiny_film import TinySource, fake_estimator

    from vitpose.motion.settings import SmoothingSettings
    from vitpose.pipeline.stream import predict_video
    from vitpose.pipeline.video_options import VideoOptions

    torch.set_num_threads(1)
    options = VideoOptions(formats=("json", "overlay", "csv"), smoothing=SmoothingSettings(method="butterworth"))
    with tempfile.TemporaryDirectory() as folder:
        estimator = fake_estimator()
        predict_video(estimator, TinySource(32), out=Path(folder) / "first", options=options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        summary = predict_video(estimator, TinySource(frames), out=Path(folder) / "film", options=options)
        seconds = time.monotonic() - begun
    assert summary.frames == frames
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "frames": frames,
        "peak_mib": peak / 1024,
        "above_a_film_of_32_frames_mib": (peak - before) / 1024,
        "ms_per_frame": 1000 * seconds / frames,
    }


def main() -> None:
    """Measure each length and write ``benchmarks/results/video_memory.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return
    rows = []
    for frames in arguments.frames:
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(frames)], check=True, capture_output=True, text=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    ratio = rows[-1]["peak_mib"] / rows[0]["peak_mib"]
    write_result("video_memory", "peak memory by the length of a film", {"rows": rows, "last_over_first": ratio})


if __name__ == "__main__":
    main()
