"""Does a film end with the same bytes however often its run is killed?

Runs are killed with SIGKILL at random moments and continued with ``resume``, until 200 have been killed; whenever one
gets to its end, all its files (journal, annotated film, CSV, Parquet, COCO, the record of the run) are compared with
those of a run that nothing happened to. The film is a file of 320 small frames, the model a tiny transformer with
random weights, the options take turns: no smoothing, smoothing while the film runs, smoothing afterwards, the latter
two with detection on demand. Each run is a forked process, so that its start takes no time.

    OMP_NUM_THREADS=1 python benchmarks/kill_study.py [--kills 200]
"""

import argparse
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from harness import write_result
from tiny_film import TinySource, random_estimator, write_film

from vitpose.media.video import VideoFile
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline.estimator import PoseEstimator
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


def start(estimator: PoseEstimator, film: Path, out: Path, options: VideoOptions) -> int:
    """Fork a run and return the number of its process."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        summary = predict_video(estimator, VideoFile(film), out=out, location=str(film), options=options)
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


@dataclass
class Study:
    """Runs films to their end, killing on the way, and counts."""

    place: Path
    wanted: int
    estimator: PoseEstimator = field(default_factory=random_estimator)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    whole: dict[str, dict[str, bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    kills: list[int] = field(default_factory=list)
    equal: int = 0

    def prepare(self) -> None:
        """Write the film, import what is imported when it is first needed, and make the results to compare with."""
        self.film = self.place / "film.mp4"
        write_film(self.film, FRAMES)
        for name, options in KINDS.items():
            predict_video(self.estimator, TinySource(20), out=self.place / "first", name=name, options=options)
        for name, options in KINDS.items():
            begun = time.monotonic()
            assert ended(start(self.estimator, self.film, self.place / f"whole-{name}", options), 600) == 0
            self.seconds[name] = time.monotonic() - begun
            self.whole[name] = contents(self.place / f"whole-{name}")

    def one(self, name: str) -> None:
        """Bring one film to its end."""
        out = self.place / "killed"
        shutil.rmtree(out, ignore_errors=True)
        self.kills.append(0)
        while True:
            enough = sum(self.kills) >= self.wanted
            process = start(self.estimator, self.film, out, KINDS[name])
            status = ended(process, 600 if enough else float(self.rng.uniform(0, self.seconds[name])))
            if status is not None:
                break
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            self.kills[-1] += 1
            where = phase(out, "film")
            self.phases[where] = self.phases.get(where, 0) + 1
        same = status == 0 and contents(out) == self.whole[name]
        self.equal += same
        verdict = "same bytes" if same else f"DIFFERENT (status {status})"
        print(f"film {len(self.kills)} ({name}): {self.kills[-1]} kills, {verdict}", flush=True)


def main() -> None:
    """Kill, continue, compare; write ``benchmarks/results/kill_study.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    wanted = parser.parse_args().kills
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # a pool of threads does not survive a fork
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), wanted)
        study.prepare()
        for name in itertools.cycle(KINDS):
            if sum(study.kills) >= wanted:
                break
            study.one(name)
    result = {
        "kills": sum(study.kills),
        "films_completed": len(study.kills),
        "films_with_the_same_bytes": study.equal,
        "kills_by_film": study.kills,
        "killed_in": study.phases,
        "files_compared": {name: sorted(files) for name, files in study.whole.items()},
        "seconds_of_a_whole_run": study.seconds,
    }
    write_result("kill_study", "does a film that was killed and continued end with the same bytes?", result)
    sys.exit(0 if study.equal == len(study.kills) else 1)


if __name__ == "__main__":
    main()
