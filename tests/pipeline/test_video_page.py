"""The Python on the page about films runs as it stands there."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import vitpose

PAGE = Path(__file__).parents[2] / "docs" / "video.md"


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(4))
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for level in range(12):
            picture = np.full((48, 64, 3), 20 * level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    small = vitpose.load("random:vitpose-ti", detector="whole", engine="eager")
    monkeypatch.setattr(vitpose, "load", lambda _name: small)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("4 4 (")
    assert len((tmp_path / "poses" / "clip.jsonl").read_text(encoding="utf-8").splitlines()) == 4
