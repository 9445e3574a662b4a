"""The tour in the docs names the files one photo goes through; this follows a photo and compares."""

import re
import sys
import threading
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

import vitpose
from vitpose.cli.main import main

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "vitpose"


def files_that_run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> set[str]:
    """Run the command line and return the package's files in which a function was executed."""
    seen: set[str] = set()

    def trace(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            seen.add(frame.f_code.co_filename)

    monkeypatch.setattr(sys, "argv", ["vitpose", *arguments])
    threading.setprofile(trace)  # pictures are read in a thread
    sys.setprofile(trace)
    try:
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    inside = {Path(name).resolve() for name in seen if not name.startswith("<")}
    return {str(path.relative_to(SOURCE)) for path in inside if path.is_relative_to(SOURCE)}


def named_in_the_tour() -> tuple[list[str], set[str]]:
    """Return the numbered files, and the files of the table below them."""
    text = (ROOT / "docs" / "tour.md").read_text()
    numbered = re.findall(r"^\d\. `([\w/]+\.py)`", text, flags=re.MULTILINE)
    return numbered, set(re.findall(r"^\| `([\w/]+\.py)`", text, flags=re.MULTILINE))


def test_one_photo_goes_through_the_files_of_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitpose.weights.checkpoint import save_checkpoint

    model = vitpose.create_model("vitpose-ti", seed=0).eval()
    skeleton = vitpose.Skeleton.from_toml(SOURCE / "skeletons" / "coco17.toml")
    save_checkpoint(tmp_path / "ti.safetensors", model, {"coco": skeleton}, {})
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / "boxes.json").write_text('{"photo.png": [[5, 5, 40, 50]]}')
    monkeypatch.chdir(tmp_path)
    arguments = ["predict", "photo.png", "--model", "ti.safetensors", "--boxes", "boxes.json"]
    files_that_run(monkeypatch, arguments)  # once for the imports, which run class bodies
    ran = files_that_run(monkeypatch, arguments)
    numbered, around = named_in_the_tour()
    assert len(numbered) == 7
    assert set(numbered) <= ran, "the tour names a file that the photo does not go through"
    assert sorted(ran - set(numbered)) == sorted(around), "the table below the tour is not what runs"
