"""How much of the speed of its slowest stage does a whole film reach?

Each stage is timed alone, one chunk after the other with nothing beside it, then the film is worked through with all of
them at the same time. Perfect overlap takes as long as the slowest stage.

Detector and pose model are real (``--model``, ``--detector``) or, with ``--paced``, take a given time without using the
processor, as a GPU does: then the question is about the pipeline alone, and processor time of the other stages is what
limits on few cores (``processor_s`` is given too).

    python benchmarks/video_throughput.py clip.mp4 --paced
    python benchmarks/video_throughput.py clip.mp4 --model random:vitpose-b --detector whole --device cuda
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import write_result
from numpy.typing import NDArray
from tiny_film import PLACES, SPEC

import vitpose
from vitpose.codec.codec import Codec
from vitpose.core.poses import Boxes
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.base import FakeEngine
from vitpose.media.frames import Frame, FrameSource
from vitpose.media.video import VideoFile
from vitpose.media.video_writer import SegmentedVideo
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline.chunks import read_chunks
from vitpose.pipeline.demand import Demand
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.film_output import FilmOutput
from vitpose.pipeline.film_work import FilmWork
from vitpose.pipeline.following import Follower
from vitpose.pipeline.head import Head
from vitpose.pipeline.journal import Journal
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.video_options import VideoOptions
from vitpose.tracking.pose_tracker import PoseTracker

REPEATS = 3


class PacedDetector:
    """Three people walk side by side; looking takes its time."""

    name = "paced"

    def __init__(self, frame_ms: float) -> None:
        self.frame_ms = frame_ms
        self.seen = 0

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Boxes]:
        """Wait, and return the boxes."""
        time.sleep(len(images) * self.frame_ms / 1000)
        found = []
        for image in images:
            height, width = image.shape[:2]
            left = width * (np.array([0.1, 0.4, 0.7]) + 0.001 * (self.seen % 100))
            corners = np.stack([left, np.full(3, 0.2 * height), left + 0.2 * width, np.full(3, 0.9 * height)], axis=1)
            found.append(Boxes(corners.astype(np.float32)))
            self.seen += 1
        return found


class PacedEngine:
    """The fake engine, at the pace of a real one."""

    name = "paced"

    def __init__(self, crop_ms: float) -> None:
        spec = vitpose.create_model("vitpose-b", seed=0).spec
        self.crop_ms = crop_ms
        codec = Codec.for_head(SPEC.heads[0], spec.heatmap_size)
        self._fake = FakeEngine(PLACES, input_size=spec.input_size, heatmap_size=spec.heatmap_size, codec=codec)
        self.input_size, self.heatmap_size, self.num_keypoints = spec.input_size, spec.heatmap_size, 17

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Wait, and answer."""
        time.sleep(len(crops) * self.crop_ms / 1000)
        return self._fake(crops)

    def close(self) -> None:
        """Nothing to give back."""


class FirstFrames:
    """The beginning of a film, repeated until there are enough frames, so that a short clip makes a long film."""

    def __init__(self, film: VideoFile, count: int) -> None:
        self.film, self.count = film, count
        self.name, self.info = film.name, film.info

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield frames with numbers and times that go on."""
        assert after == -1
        return islice(self._endless(), self.count)

    def _endless(self) -> Iterator[Frame]:
        index = 0
        while True:
            for frame in self.film.frames():
                yield Frame(index, index / (self.info.rate or 25.0), frame.image)
                index += 1


def make(arguments: argparse.Namespace) -> PoseEstimator:
    """Build what the stages run."""
    if not arguments.paced:
        return vitpose.load(
            arguments.model, detector=arguments.detector, engine=arguments.engine, device=arguments.device
        )
    engine = PacedEngine(arguments.crop_ms)
    head = Head(SPEC.heads[0], load_skeleton("coco17"), engine)
    return PoseEstimator({"coco": head}, detector=PacedDetector(arguments.frame_ms))


def alone(estimator: PoseEstimator, source: FrameSource, out: Path, options: VideoOptions) -> dict[str, float]:
    """Return the seconds of each stage with nothing beside it."""
    work = FilmWork(estimator, Demand(options.detect_every), Follower(PoseTracker(), options.smoothing))
    seconds = dict.fromkeys(("read", "detect", "estimate", "follow", "draw", "write"), 0.0)

    def timed(name: str, call: Callable[..., Any], *given: Any) -> Any:
        begun = time.perf_counter()
        result = call(*given)
        seconds[name] += time.perf_counter() - begun
        return result

    film = SegmentedVideo(out / "alone.mp4", size=source.info.size, rate=source.info.rate)
    with Journal(out / "alone.jsonl") as journal:
        output = FilmOutput(name="alone", source="alone", journal=journal, film=film)
        chunks = read_chunks(source, options.chunk(source.info))
        while (chunk := timed("read", next, chunks, None)) is not None:
            for name, stage in (
                ("detect", work.detect),
                ("estimate", work.estimate),
                ("follow", work.follow),
                ("draw", output.draw),
                ("write", output.write),
            ):
                chunk = timed(name, stage, chunk)
    timed("write", lambda: film.finish(complete=True))
    return seconds


def main() -> None:
    """Measure and write ``benchmarks/results/video_throughput.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=320)
    parser.add_argument("--paced", action="store_true")
    parser.add_argument("--frame-ms", type=float, default=12.0, help="of the paced detector")
    parser.add_argument("--crop-ms", type=float, default=4.0, help="of the paced pose model")
    parser.add_argument("--model", default="random:vitpose-ti")
    parser.add_argument("--detector", default="whole")
    parser.add_argument("--engine", default="eager-fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--detect-every", type=int, default=1)
    parser.add_argument("--name", default="video_throughput", help="of the results file")
    arguments = parser.parse_args()
    if arguments.paced:
        torch.set_num_threads(1)
    options = VideoOptions(detect_every=arguments.detect_every, smoothing=SmoothingSettings(method="kalman"))
    source = FirstFrames(VideoFile(arguments.clip), arguments.frames)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        estimator = make(arguments)
        predict_video(estimator, FirstFrames(source.film, 32), out=Path(folder), name="first", options=options)
        for number in range(REPEATS):
            stages = alone(estimator, source, Path(folder), options)
            begun, processor = time.perf_counter(), time.process_time()
            predict_video(estimator, source, out=Path(folder), name=f"film{number}", options=options)
            whole = time.perf_counter() - begun
            rounds.append(
                {
                    "stages_s": stages,
                    "film_s": whole,
                    "processor_s": time.process_time() - processor,
                    "share_of_the_slowest": max(stages.values()) / whole,
                    "gain_over_one_after_the_other": sum(stages.values()) / whole,
                }
            )
            print(rounds[-1], flush=True)
    sys.argv[1] = arguments.clip.name
    result = {
        "clip": {"name": arguments.clip.name, "size": list(source.info.size), "frames": arguments.frames},
        "simulated": "detector and pose model: they wait" if arguments.paced else "the weights, if they are random",
        "rounds": rounds,
        "share_of_the_slowest_median": statistics.median(one["share_of_the_slowest"] for one in rounds),
        "frames_per_second_median": arguments.frames / statistics.median(one["film_s"] for one in rounds),
    }
    write_result(arguments.name, "how much of its slowest stage's speed a whole film reaches", result)


if __name__ == "__main__":
    main()
