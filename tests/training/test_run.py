"""Runs: whatever happens to them, what they leave behind is whole and they go on to the same end."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import Dots, tiny

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.training import state as state_module
from vitpose.training.logs import PlainLines
from vitpose.training.material import Material
from vitpose.training.run import train
from vitpose.training.state import Progress, RunFolder
from vitpose.weights.load import load_model

PROGRAM = Path(__file__).parent / "train_dots.py"


def dots(**changes) -> Material:
    source = Dots(**changes)
    return Material(train=source, people={"body": len(source)}, unlabelled=Dots(people=4))


def run(out: Path, *changes: str, material: Material | None = None, **options):
    return train(tiny(*changes), out, material=material or dots(), cpu=True, **options)


def test_what_is_not_a_number_is_never_the_best():
    first, best = Progress(step=3).judged(float("nan"))
    assert (best, first.best_score, first.waited) == (False, None, 1)
    second, best = first.judged(0.1)
    assert (best, second.best_score) == (True, 0.1)
    assert not second.judged(float("nan"))[1]


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    out = tmp_path / "run"
    with RunFolder(out).held_alone(), pytest.raises(UsageError, match="another process is training"):
        run(out)
    assert not out.exists()
    run(out)
    assert not list(tmp_path.glob(".*")), "the lock goes with the run"


def weights(out: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(out / f"{which}.safetensors")


def assert_same(first: Path, second: Path) -> None:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def program(out: Path, *words: str) -> subprocess.Popen:
    # Sums are cut by the number of threads, so equality to the last bit needs as many as this process has.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, str(PROGRAM), str(out), *words], env=environment, stderr=subprocess.PIPE)


def wait_for_lines(path: Path, count: int) -> None:
    for _ in range(1200):
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.025)
    raise AssertionError(f"{path} never had {count} lines")


def test_a_run_learns_and_leaves_everything_it_should(tmp_path):
    outcome = run(tmp_path / "run", "schedule.epochs=12", "optim.lr=3e-3", "schedule.kind=constant")
    assert (outcome.ending, outcome.progress.step) == ("finished", 36)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.9 * losses[0]
    assert {"lr", "grad_norm", "people_per_s", "epoch"} <= set(lines[0])
    assert sum("validation/score" in line for line in lines) == 12
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "versions.json", "metrics.jsonl", "tensorboard", "state.pt", "last.safetensors"} <= names
    assert "best.safetensors" in names
    assert not any(name.startswith(".part") for name in names)


def test_checkpoints_describe_themselves(tmp_path):
    run(tmp_path)
    loaded = load_model(tmp_path / "best.safetensors")
    assert loaded.skeletons["body"].name == "body14"
    assert loaded.metadata["run"] == "tiny"
    assert loaded.metadata["score"] is not None
    assert loaded.model.spec == tiny().model.spec()


@pytest.mark.parametrize(
    "changes",
    [
        ("optim.ema=0.9", "optim.freeze_blocks=1"),
        ("optim.kind=muon", "model.init=structured", "model.heads.0.maps=places"),
    ],
    ids=["adamw", "muon"],
)
def test_a_run_in_pieces_equals_a_run_in_one(tmp_path, changes):
    run(tmp_path / "whole", *changes)
    stopping = _StopAt(4)
    outcome = run(tmp_path / "pieces", *changes, display=stopping)
    assert (outcome.ending, outcome.progress.step) == ("interrupted", 4)
    outcome = run(tmp_path / "pieces", *changes, resume=True)
    assert (outcome.ending, outcome.progress.step) == ("finished", 9)
    assert_same(tmp_path / "whole", tmp_path / "pieces")
    keys = ("step", "loss", "grad_norm", "validation/score")
    logs = [
        [
            {key: json.loads(line).get(key) for key in keys}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (tmp_path / "whole", tmp_path / "pieces")
    ]
    assert logs[0] == logs[1]


class _StopAt(PlainLines):
    """Sends this process SIGTERM when a step is done."""

    def __init__(self, step: int) -> None:
        super().__init__(sys.stderr)
        self._at = step

    def step(self, step, line) -> None:
        if step == self._at:
            os.kill(os.getpid(), signal.SIGTERM)


def test_killed_in_the_middle_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    run(tmp_path / "whole", "schedule.epochs=4", "optim.ema=0.9")
    kills = (3, 8)
    for lines in kills:
        process = program(tmp_path / "killed", "--slow", "--resume", "schedule.epochs=4", "optim.ema=0.9")
        wait_for_lines(tmp_path / "killed" / "metrics.jsonl", lines)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stderr.close()
    run(tmp_path / "killed", "schedule.epochs=4", "optim.ema=0.9", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "killed")
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_sigterm_saves_and_exits_130(tmp_path):
    process = program(tmp_path, "--slow", "schedule.epochs=50", "loop.save_every=1000", "loop.evaluate_every=50")
    wait_for_lines(tmp_path / "metrics.jsonl", 2)
    process.terminate()
    assert process.wait(timeout=60) == 130
    process.stderr.close()
    progress, _ = state_module.load_state(tmp_path / "state.pt")
    assert progress.step >= 2
    assert (tmp_path / "last.safetensors").exists()


def test_two_processes_equal_one(tmp_path):
    # No stochastic depth: its draws belong to the place of a person in the batch of a process.
    changes = ("model.backbone.drop_path=0.0", "loop.batch_size=4")
    run(tmp_path / "one", *changes)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29677", str(PROGRAM)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, str(tmp_path / "two"), *changes], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("micro", [1, 3])
def test_accumulation_does_not_change_the_result(tmp_path, micro):
    changes = ("model.backbone.drop_path=0.0", "schedule.epochs=1")
    run(tmp_path / "whole", *changes)
    run(tmp_path / "parts", *changes, f"loop.micro_batch={micro}")
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)


def test_checkpointing_does_not_change_the_result(tmp_path):
    run(tmp_path / "plain", "schedule.epochs=1")
    run(tmp_path / "again", "schedule.epochs=1", "loop.checkpointing=true")
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "again")
    assert all(torch.allclose(one[name], two[name], rtol=1e-5, atol=1e-7) for name in one)


def test_threads_draw_the_same_batches(tmp_path):
    run(tmp_path / "main", "schedule.epochs=1")
    run(tmp_path / "threads", "schedule.epochs=1", "data.workers=3")
    assert_same(tmp_path / "main", tmp_path / "threads")


def test_bf16_learns(tmp_path):
    run(tmp_path, "loop.precision=bf16", "schedule.epochs=6", "optim.lr=3e-3", "schedule.kind=constant")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]


class _Words(PlainLines):
    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_out_of_memory_halves_the_micro_batch_keeps_the_batch_and_says_so(tmp_path, monkeypatch):
    from vitpose.training import supervised

    original = supervised.features_of

    def small_memory(model, images, *rest):
        if len(images) > 1:
            raise torch.OutOfMemoryError("simulated")
        return original(model, images, *rest)

    changes = ("model.backbone.drop_path=0.0", "schedule.epochs=1", "loop.evaluate_every=99")
    no_evaluation = replace(dots(), unlabelled=None)
    run(tmp_path / "plenty", *changes, material=no_evaluation)
    words = _Words()
    monkeypatch.setattr(supervised, "features_of", small_memory)
    outcome = run(tmp_path / "little", *changes, display=words, material=no_evaluation)
    assert outcome.progress.micro_batch == 1
    told = [text for text in words.said if "out of memory" in text]
    assert "micro-batch 4 -> 2" in told[0]
    assert "micro-batch 2 -> 1" in told[1]
    assert "effective batch stays at 4" in told[1]
    one, two = weights(tmp_path / "plenty"), weights(tmp_path / "little")
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)


def test_no_memory_for_one_person_says_what_to_do(tmp_path, monkeypatch):
    from vitpose.training import supervised

    def no_memory(*_arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes. Error code 12")

    monkeypatch.setattr(supervised, "features_of", no_memory)
    with pytest.raises(VitPoseError, match=r"one person at a time.*checkpointing"):
        run(tmp_path)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    from vitpose.training import supervised

    def broken(*_arguments):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(supervised, "features_of", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(tmp_path)


def test_a_loss_that_is_no_number_stops_names_its_people_and_keeps_the_state(tmp_path, monkeypatch):
    from vitpose.training import supervised

    original = supervised.HeatmapLoss.distances

    def poisoned(self, heatmaps, batch, dataset, rows):
        result = original(self, heatmaps, batch, dataset, rows)
        bad = torch.tensor([record == 5 for record in batch.records]) & (state_step(tmp_path) >= 2)
        return torch.where(bad, torch.full_like(result, float("nan")), result)

    monkeypatch.setattr(supervised.HeatmapLoss, "distances", poisoned)
    with pytest.raises(VitPoseError) as caught:
        run(tmp_path, "loop.micro_batch=1", "loop.evaluate_every=99", material=replace(dots(), unlabelled=None))
    message = str(caught.value)
    assert "the loss is not a finite number" in message
    assert "picture5.jpg person 5" in message
    assert message.count("person") == 1
    assert f"{tmp_path / 'state.pt'} is as it was" in message
    _, parts = state_module.load_state(tmp_path / "state.pt")
    assert all(torch.isfinite(value).all() for value in parts["objective"].values())
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


def state_step(folder: Path) -> int:
    path = folder / "state.pt"
    return state_module.load_state(path)[0].step if path.exists() else 0


def test_a_changed_configuration_is_refused_with_the_changes(tmp_path):
    run(tmp_path, "schedule.epochs=1")
    with pytest.raises(UsageError) as caught:
        run(tmp_path, "schedule.epochs=2", "optim.lr=0.5", resume=True)
    assert "optim.lr: 0.001 -> 0.5" in str(caught.value)
    assert "schedule.epochs: 1 -> 2" in str(caught.value)
    outcome = run(tmp_path, "schedule.epochs=2", resume=True, force=True)
    assert outcome.progress.step == 6


def test_forced_settings_are_those_that_count(tmp_path):
    run(tmp_path, "schedule.epochs=1", "optim.weight_decay=0.1")
    run(tmp_path, "schedule.epochs=2", "optim.weight_decay=0.5", "optim.betas=[0.8,0.9]", resume=True, force=True)
    _, parts = state_module.load_state(tmp_path / "state.pt")
    groups = parts["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
    assert all(tuple(group["betas"]) == (0.8, 0.9) for group in groups)
    with pytest.raises(VitPoseError, match="belongs to another"):
        run(tmp_path, "schedule.epochs=3", "optim.freeze_blocks=1", resume=True, force=True)


def test_settings_that_cannot_work_leave_the_folder_free(tmp_path):
    for change in ("optim.clip_norm=-1", "optim.betas=[0.9,1.0]"):
        with pytest.raises(UsageError, match="optim"):
            run(tmp_path / "run", change)
    assert not (tmp_path / "run").exists()


def test_a_run_begun_before_a_setting_existed_goes_on(tmp_path):
    run(tmp_path, "schedule.epochs=1")
    written = (tmp_path / "config.toml").read_text()
    older = "\n".join(line for line in written.splitlines() if not line.startswith(("stem", "deconv_width")))
    assert older.count("\n") < written.count("\n") - 2
    (tmp_path / "config.toml").write_text(older)
    assert run(tmp_path, "schedule.epochs=1", resume=True).ending
    assert (tmp_path / "config.toml").read_text() == written


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    run(tmp_path, "schedule.epochs=1")
    with pytest.raises(UsageError, match="--resume"):
        run(tmp_path, "schedule.epochs=1")


def test_a_full_disk_keeps_the_previous_state(tmp_path, monkeypatch):
    original = torch.save
    saves = []

    def full(obj, path, *rest, **options):
        saves.append(path)
        if len(saves) == 3:
            Path(path).write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        return original(obj, path, *rest, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(VitPoseError, match="No space left"):
        run(tmp_path)
    progress, _ = state_module.load_state(tmp_path / "state.pt")
    assert progress.step == 3
    assert not list(tmp_path.glob(".part*"))
    monkeypatch.undo()
    assert run(tmp_path, resume=True).progress.step == 9


def test_a_damaged_state_is_an_error_of_one_sentence(tmp_path):
    run(tmp_path, "schedule.epochs=1")
    (tmp_path / "state.pt").write_bytes(b"nonsense")
    with pytest.raises(VitPoseError, match="cannot read"):
        run(tmp_path, "schedule.epochs=1", resume=True)


def test_early_stop_waits_for_its_patience_and_stays_stopped(tmp_path):
    outcome = run(tmp_path, "optim.lr=1e-12", "schedule.patience=2", "schedule.epochs=30")
    assert outcome.ending == "stopped early"
    assert outcome.progress.step < 90
    assert run(tmp_path, "optim.lr=1e-12", "schedule.patience=2", "schedule.epochs=30", resume=True) == outcome


def test_a_set_smaller_than_the_batch_is_repeated(tmp_path):
    outcome = run(tmp_path, "loop.batch_size=24", "schedule.epochs=1")
    assert outcome.progress.step == 1
