"""Does a film end with the same bytes however often its run is killed?

Runs are killed with SIGKILL at random moments and continued with ``resume``, until 200 have been killed; whenever one
gets to its end, all its files (journal, annotated film, CSV, Parquet, COCO, the record of the run) are compared with
those of a run that nothing happened to. The film is a file of 320 small frames, the model a tiny transformer with
random weights, the options take turns: no smoothing, smoothing while the film runs, smoothing afterwards, the latter
two with detection on demand. Each run is a forked process, so that its start takes no time.

    OMP_NUM_THREADS=1 python benchmarks/kill_study.py [--kills 200]
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from harness import write_result
from tiny_film import random_estimator, write_film

from vitpose.media.video import VideoFile
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.video_options import VideoOptions

FRAMES = 320
FORMATS = ("json", "overlay", "csv", "parquet", "coco-video")
KINDS = {
    "plain": VideoOptions(formats=FORMATS, resume=True),
    "online": VideoOptions(formats=FORMATS, resume=True, detect_every=4, smoothing=SmoothingSettings(method="kalman")),
    "afterwards": VideoOptions(
        formats=FORMATS, resume=True, detect_every=4, smoothing=SmoothingSettings(method="butterworth")
    ),
}


def start(film: Path, out: Path, options: VideoOptions) -> int:
    """Fork a run and return the number of its process."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        summary = predict_video(random_estimator(), VideoFile(film), out=out, location=str(film), options=options)
        code = 0 if summary.complete and summary.frames == FRAMES else 2
    finally:
        os._exit(code)


def ended(process: int, within_s: float) -> int | None:
    """Return the exit status of a process, None if it still runs after ``within_s`` seconds."""
    latest = time.monotonic() + within_s
    while time.monotonic() < latest:
        known, status = os.waitpid(process, os.WNOHANG)
        if known:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def contents(folder: Path) -> dict[str, bytes]:
    """All files; leftovers of atomic writing, which are called ``.part-...``, are not results."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".part-")
    }


def phase(out: Path, name: str) -> str:
    """Say what a run that was killed was doing, from what it left."""
    if not (out / f"{name}.run.json").exists():
        return "before the first chunk"
    if (out / f"{name}.smoothed.jsonl").exists():
        return "second pass"
    if (out / f"{name}.partial.jsonl").exists():
        return "first pass"
    return "after the last frame"


def main() -> None:
    """Kill, continue, compare; write ``benchmarks/results/kill_study.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    wanted = parser.parse_args().kills
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        film = place / "film.mp4"
        write_film(film, FRAMES)
        whole, seconds = {}, {}
        for name, options in KINDS.items():
            begun = time.monotonic()
            assert ended(start(film, place / f"whole-{name}", options), 600) == 0
            seconds[name] = time.monotonic() - begun
            whole[name] = contents(place / f"whole-{name}")
        kills, films, equal, phases = 0, 0, 0, {}
        most = 0
        while kills < wanted:
            name = list(KINDS)[films % len(KINDS)]
            out, here = place / "killed", 0
            shutil.rmtree(out, ignore_errors=True)
            while True:
                process = start(film, out, KINDS[name])
                status = ended(process, float(rng.uniform(0, 0.6 * seconds[name])) if kills < wanted else 600)
                if status is not None:
                    break
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                kills, here = kills + 1, here + 1
                where = phase(out, "film")
                phases[where] = phases.get(where, 0) + 1
            films += 1
            same = status == 0 and contents(out) == whole[name]
            equal += same
            most = max(most, here)
            print(
                f"film {films} ({name}): {here} kills, {'same bytes' if same else f'DIFFERENT (status {status})'}",
                flush=True,
            )
    result = {
        "kills": kills,
        "films_completed": films,
        "films_with_the_same_bytes": equal,
        "most_kills_of_one_film": most,
        "killed_in": phases,
        "files_compared": {name: sorted(files) for name, files in whole.items()},
        "seconds_of_a_whole_run": seconds,
    }
    write_result("kill_study", "does a film that was killed and continued end with the same bytes?", result)
    sys.exit(0 if equal == films else 1)


if __name__ == "__main__":
    main()
