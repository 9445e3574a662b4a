"""The memory benchmark runs, and computing activations again takes less memory than keeping them."""

import json

import checkpointing_memory
import harness


def test_computing_again_saves_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(checkpointing_memory, "RESULTS", tmp_path)
    given = ["--sizes", "ti", "--batches", "6", "--repeats", "1", "--steps", "1", "--threads", "1", "--cpu"]
    monkeypatch.setattr("sys.argv", ["checkpointing_memory.py", *given])
    checkpointing_memory.main()
    row = json.loads((tmp_path / "checkpointing_memory_cpu.json").read_text())["result"]["rows"]["vitpose-ti, batch 6"]
    assert 0.1 < row["memory_saved"] < 1
    assert row["kept"]["memory_mib"] > row["computed again"]["memory_mib"] > 10
    capsys.readouterr()
