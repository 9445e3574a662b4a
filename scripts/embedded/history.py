"""How weights came about, read from the run folders they lie in: for the model card and the results file."""

import json
import tomllib
from pathlib import Path
from typing import Any

_PLACES = ("--data", "--out", "--start", "--initial", "--teacher", "--pseudo", "--model", "--detector")
"""Options whose values are places on somebody's disk."""

_PLACE_SETTINGS = ("data.root", "model.start", "objective.distill.teacher")
"""Settings whose values are."""

_SHOWN = ("validation/ap", "validation/annotations/ap", "validation/recall_tall", "validation/ap50", "validation/loss")
"""Numbers of an evaluation that are kept: COCO AP, AP of the athletes, the detector's, and pre-training's."""


def stages_of(weights: Path) -> list[dict[str, Any]]:
    """Return the runs behind a file of weights, the first one first; none if it does not lie in a run's folder."""
    folder, found = weights.parent, list[dict[str, Any]]()
    if not (folder / "metrics.jsonl").is_file():
        return found
    settings = folder / "config.toml"
    if settings.is_file():
        config = tomllib.loads(settings.read_text(encoding="utf-8"))
        if config["model"]["start"]:
            found = stages_of(Path(config["model"]["start"]))
        name, batch = config["name"], config["loop"]["batch_size"]
    else:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("start"):
            found = stages_of(Path(config["start"]))
        name, batch = config["spec"]["name"], config["batch_size"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds, before, written_down = 0.0, 0, True
    for line in (line for line in lines if "loss" in line):
        rate = line.get("people_per_s", line.get("pictures_per_s"))
        written_down = written_down and rate is not None
        seconds += (line["step"] - before) * batch / (rate or 1.0)
        before = line["step"]
    last = max((line for line in lines if "epoch" in line), key=lambda line: line["step"], default=None)
    if last is None:  # too short a run for a line
        return found
    return [
        *found,
        {
            "name": name,
            "steps": last["step"],
            "epochs": round(last["epoch"], 1),
            "batch_size": batch,
            "minutes": round(seconds / 60, 1) if written_down else None,
            "curve": _curve(lines, last["step"] / last["epoch"]),
            **_made_with(folder),
        },
    ]


def _curve(lines: list[dict[str, Any]], per_epoch: float) -> list[dict[str, float]]:
    """Return the evaluations: epoch, and the numbers that are kept."""
    found = []
    for line in lines:
        kept = {key.partition("/")[2]: round(line[key], 4) for key in _SHOWN if line.get(key) is not None}
        if kept:
            found.append({"epoch": round(line["step"] / per_epoch), **kept})
    return found


def _made_with(folder: Path) -> dict[str, str]:
    """Return device, command and a note, as far as the run has them; places on the disk are left out."""
    path = folder / "versions.json"
    if not path.is_file():
        return {}
    versions = json.loads(path.read_text(encoding="utf-8"))
    note = {"note": versions["note"]} if "note" in versions else {}
    return {"device": versions["device"], "command": plain_command(versions["command"]), **note}


def plain_command(command: str) -> str:
    """Return a command without the places on the disk of whoever gave it."""
    program, *words = command.split()
    shown = [f"python -m scripts.embedded.{Path(program).stem}" if program.endswith(".py") else Path(program).name]
    for before, word in zip([program, *words], words, strict=False):
        setting = word.partition("=")[0]
        if before in _PLACES:
            shown.append(before.lstrip("-").upper())
        elif setting in _PLACE_SETTINGS:
            shown.append(f"{setting}={setting.rpartition('.')[2].upper()}")
        else:
            shown.append(word)
    return " ".join(shown)
