"""The commands and the code of the pages are run, without a network: the hub's cache holds small random stand-ins."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from vitpose.core.skeleton import load_skeleton
from vitpose.weights.catalog import find_model, is_on_disk

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()

POSE, DETECTOR = "usyd-community/vitpose-base", "PekingU/rtdetr_r50vd_coco_o365"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> Iterator[str]:
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ").partition("  #")[0].strip()


def snapshot(cache: Path, repository: str) -> Path:
    """Return the folder in which huggingface_hub looks for a repository."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return folder / "snapshots" / ("0" * 40)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub with a small pose model and a small detector under the published names."""
    from transformers import (
        RTDetrConfig,
        RTDetrForObjectDetection,
        RTDetrResNetConfig,
        VitPoseBackboneConfig,
        VitPoseConfig,
        VitPoseForPoseEstimation,
    )

    cache = tmp_path_factory.mktemp("hf") / "hub"
    backbone = VitPoseBackboneConfig(hidden_size=192, num_hidden_layers=1, num_attention_heads=3, out_indices=[1])
    labels = dict(enumerate(load_skeleton("coco17").keypoints))
    pose = VitPoseForPoseEstimation(
        VitPoseConfig(backbone_config=backbone, use_simple_decoder=False, id2label=labels, num_labels=17)
    )
    pose.save_pretrained(snapshot(cache, POSE))
    small = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage2", "stage3", "stage4"]
    )
    config = RTDetrConfig(
        backbone_config=small,
        encoder_in_channels=[8, 8, 8],
        encoder_hidden_dim=16,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        decoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=10,
        hidden_expansion=1.0,
        id2label={0: "person", 1: "dog", 2: "horse", 3: "cow"},
    )
    folder = snapshot(cache, DETECTOR)
    RTDetrForObjectDetection(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"image_processor_type": "RTDetrImageProcessor", "do_resize": true, "size": {"height": 64, "width": 64},'
        ' "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": false, "do_pad": false}'
    )
    return cache.parent


def film(path: Path, image: np.ndarray) -> None:
    """Write two minutes of one frame every ten seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 10))
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        for shift in range(13):
            picture = av.VideoFrame.from_ndarray(np.roll(image, shift, axis=1), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the pictures the pages speak of."""
    astronaut = Image.fromarray(data.astronaut())
    for name in ("photo.jpg", "zoo.jpg", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        astronaut.save(tmp_path / name)
    for name in ("clip", "squats", "match", "long"):
        film(tmp_path / f"{name}.mp4", np.asarray(astronaut.resize((128, 128))))
    (tmp_path / "boxes.json").write_text('{"photo.jpg": [[60, 10, 400, 510]]}')
    return tmp_path


def execute(arguments: list[str], home: Path, place: Path) -> subprocess.CompletedProcess[str]:
    import os

    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "VITPOSE_HOME": str(place / "cache")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


VERBS = [line for line in commands(README) if line.startswith("vitpose ")]
RUN = [line for line in VERBS if line.split()[1] in ("predict", "models") and "rtsp:" not in line]
NEED_DATA = [line for line in VERBS if line not in RUN]


@pytest.mark.parametrize("line", RUN)
def test_the_commands_of_the_readme_run(line: str, home: Path, place: Path) -> None:
    done = execute(["-m", *shlex.split(line)], home, place)
    if "--model animal" in line:
        # An original checkpoint, which has no small stand-in: the error says where it would lie.
        assert done.returncode == 5, done.stderr
        assert "it would lie in" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", NEED_DATA)
def test_the_commands_that_need_data_exist_as_written(line: str, home: Path, place: Path) -> None:
    """Verb and options are those of the help page; the verbs' own tests run them on data."""
    words = shlex.split(line)
    verb = words[1:3] if words[1] in ("doctor", "tracks") else words[1:2]
    done = execute(["-m", "vitpose", *verb, "--help"], home, place)
    assert done.returncode == 0, done.stderr
    for option in [word for word in words if word.startswith("-")]:
        assert option in done.stdout


def test_the_readme_has_commands_at_all() -> None:
    assert len(RUN) >= 4
    assert len(NEED_DATA) >= 4


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_the_python_of_the_readme_runs(code: str, home: Path, place: Path) -> None:
    done = execute(["-c", code], home, place)
    assert done.returncode == 0, done.stderr
    assert "17, 2)" in done.stdout


def test_the_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [line.split()[1] for line in commands(README) if line.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        assert f"\n{target}: $(READY)" in makefile


def test_every_verb_is_on_the_page_of_the_command_line() -> None:
    from typer.main import get_command

    from vitpose.cli.main import app

    page = (ROOT / "docs" / "cli.md").read_text()
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert verbs
    for verb in verbs:
        assert f"`{verb}" in page, f"docs/cli.md does not speak of `vitpose {verb}`"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def test_the_demo_leaves_a_picture_and_a_document(place: Path, home: Path) -> None:
    done = execute([str(ROOT / "examples" / "demo.py")], home, place)
    assert done.returncode == 0, done.stderr
    assert ("RANDOM" in done.stdout) == (is_on_disk(find_model("embedded")) is None)
    assert (place / "demo" / "astronaut.overlay.jpg").stat().st_size > 10_000
    assert (place / "demo" / "astronaut.json").exists()
