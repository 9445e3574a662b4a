"""A run that is killed, however often and wherever, is continued to the bytes of one that was not."""

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import moving_blocks
import numpy as np
import pytest
from moving_blocks import BlockDetector, Blocks, block_estimator, files_in, still_running

from vitpose.core.errors import UsageError
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline.assemble import LazyDetector
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.video_options import VideoOptions

pytest.importorskip("av")

ONLINE = VideoOptions(detect_every=4, formats=("json", "overlay", "csv"), smoothing=SmoothingSettings(method="kalman"))
OFFLINE = replace(ONLINE, smoothing=SmoothingSettings(method="butterworth"))


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of runs that nothing happened to."""
    folders = {}
    for key, options in (("online", ONLINE), ("offline", OFFLINE)):
        folders[key] = tmp_path_factory.mktemp(key)
        predict_video(block_estimator(), Blocks(), out=folders[key], options=options)
    return folders


@pytest.mark.parametrize("seed", range(10))
def test_a_run_that_fails_anywhere_goes_on_to_the_same_bytes(whole: dict[str, Path], seed: int, tmp_path: Path) -> None:
    """Up to three failures in one film, each somewhere in reading, detecting or estimating."""
    rng = np.random.default_rng(seed)
    kind = ("online", "offline")[seed % 2]
    options = ONLINE if kind == "online" else OFFLINE
    for attempt in range(int(rng.integers(1, 4))):
        where, at = rng.integers(3), int(rng.integers(5, 100))
        fails = (at, KilledError(f"number {at}"))
        estimator = block_estimator(
            detector=BlockDetector(fails if where == 1 else None), fails=fails if where == 2 else None
        )
        source = Blocks(fails=fails if where == 0 else None)
        with contextlib.suppress(KilledError):
            predict_video(estimator, source, out=tmp_path, options=replace(options, resume=attempt > 0))
    assert not still_running()
    last = predict_video(block_estimator(), Blocks(), out=tmp_path, options=replace(options, resume=True))
    assert last.complete
    assert last.frames == 100
    assert files_in(tmp_path) == files_in(whole[kind])


def test_a_run_goes_on_whether_or_not_the_detector_was_needed_before(tmp_path: Path) -> None:
    """The first process comes to the film with the detector loaded for another one, the second does not."""

    class Named(BlockDetector):
        name = "blocks 0123456789ab"

    options = VideoOptions(formats=("json",))
    first = block_estimator(detector=LazyDetector("blocks", Named))
    predict_video(first, Blocks(20), out=tmp_path, name="one", options=options)
    with pytest.raises(KilledError):
        predict_video(first, Blocks(fails=(60, KilledError())), out=tmp_path, name="two", options=options)
    second = block_estimator(detector=LazyDetector("blocks", Named))
    for source, name in ((Blocks(20), "one"), (Blocks(), "two")):
        done = predict_video(second, source, out=tmp_path, name=name, options=replace(options, resume=True))
        assert done.complete


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    smooth = "rts"
    script = [sys.executable, moving_blocks.__file__]
    reference, folder = tmp_path / "reference", tmp_path / "killed"
    subprocess.run([*script, str(reference), "300", "--smooth", smooth], check=True, capture_output=True)
    rng = np.random.default_rng(0)
    kills = 0
    partial = folder / "blocks.partial.jsonl"
    for attempt in range(3):
        more = ["--resume"] if attempt else []
        before = length_of(partial) if attempt else 0
        arguments = [*script, str(folder), "300", "--smooth", smooth, "--slow", "0.003", *more]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and length_of(partial) == before:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
    assert kills
    done = subprocess.run(
        [*script, str(folder), "300", "--smooth", smooth, "--resume"], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "300"
    found = {name: data for name, data in files_in(folder).items() if "/.part-" not in f"/{name}"}
    assert found == files_in(reference)


def test_a_second_run_of_the_same_film_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    script = [sys.executable, moving_blocks.__file__]
    reference, folder = tmp_path / "reference", tmp_path / "shared"
    partial = folder / "blocks.partial.jsonl"
    options = replace(ONLINE, smoothing=None)
    with subprocess.Popen([*script, str(folder), "200", "--slow", "0.01"], stdout=subprocess.PIPE) as first:
        while first.poll() is None and length_of(partial) == 0:
            time.sleep(0.01)
        for resume in (False, True):
            with pytest.raises(UsageError, match=r"another run is writing .*blocks\.partial\.jsonl: wait"):
                predict_video(block_estimator(), Blocks(200), out=folder, options=replace(options, resume=resume))
        assert first.poll() is None, "the first run was to be at work all the while"
        done = predict_video(block_estimator(), Blocks(20), out=folder, name="other", options=options)
        assert done.complete, "another film in the same folder is nobody's concern"
        first.communicate()
    assert first.returncode == 0
    predict_video(block_estimator(), Blocks(200), out=reference, options=options)
    found = {name: data for name, data in files_in(folder).items() if not name.startswith("other.")}
    assert found == files_in(reference)
