"""`vitpose predict` from the outside: files, streams, exit codes."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image

from vitpose.cli.main import main
from vitpose.core.poses import Poses

Run = Callable[..., tuple[int, str, str]]

TINY = ("--model", "random:vitpose-ti", "--detector", "whole")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vitpose", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_help_shows_what_is_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The help is marked up: brackets and words between colons must come out as they are."""
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("predict", "--help")
    assert code == 0
    assert "[xyxy]" in out
    assert "…" not in out, "at 80 columns a long word is cut: what may be given must be read in full"
    for word in ("coco-video", "openpose", "skeletons", "motion", "embedded", "parquet"):
        assert word in out
    assert "h:mm:ss" in out


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_photo_gives_json_and_overlay(run: Run, photo: Path, tmp_path: Path) -> None:
    code, out, err = run("predict", photo, *TINY)
    assert (code, out) == (0, "")
    assert "1 picture, 1 pose -> poses/" in err
    assert files(tmp_path / "poses") == ["photo.json", "photo.overlay.jpg"]
    document = json.loads((tmp_path / "poses" / "photo.json").read_text())
    poses = Poses.from_dict(document)
    assert poses.xy.shape == (1, 17, 2)
    assert document["image"] == {"height": 60, "width": 80, "source": str(photo)}
    assert document["model"]["name"] == "random:vitpose-ti"
    assert len(document["model"]["sha256"]) == 64
    with Image.open(tmp_path / "poses" / "photo.overlay.jpg") as overlay:
        assert overlay.size == (80, 60)


def test_every_format_holds_the_same_numbers(run: Run, photo: Path, tmp_path: Path) -> None:
    second = tmp_path / "000000000139.png"
    second.write_bytes(photo.read_bytes())
    formats = "json,coco,csv,parquet"
    code, out, _ = run("predict", photo, second, *TINY, "--format", formats, "--out", "r", "--json")
    assert code == 0
    folder = tmp_path / "r"
    assert files(folder) == ["000000000139.json", "coco_results.json", "photo.json", "poses.csv", "poses.parquet"]
    printed = [json.loads(line) for line in out.splitlines()]
    assert printed[0] == json.loads((folder / "photo.json").read_text())
    coco = json.loads((folder / "coco_results.json").read_text())
    assert [entry["image_id"] for entry in coco] == ["photo", "000000000139"]
    poses = Poses.from_dict(printed[0])
    assert coco[0] == poses.to_coco_results("photo")[0]
    table = pyarrow.parquet.read_table(folder / "poses.parquet")
    assert table.num_rows == 34
    np.testing.assert_array_equal(table["x"].to_numpy()[:17], poses.xy[0, :, 0])
    assert pyarrow.csv.read_csv(folder / "poses.csv").num_rows == 34


def test_boxes_from_a_file(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "boxes.json").write_text(json.dumps({"photo.png": [[5, 5, 40, 50], [30, 10, 70, 55]]}))
    code, out, _ = run("predict", photo, "--model", "random:vitpose-ti", "--boxes", "boxes.json", "--json")
    assert code == 0
    assert [person["box_xyxy"] for person in json.loads(out)["people"]] == [[5, 5, 40, 50], [30, 10, 70, 55]]


def test_one_bad_file_does_not_stop_the_others(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    (tmp_path / "empty.png").touch()
    code, _, err = run("predict", tmp_path / "broken.jpg", photo, tmp_path / "empty.png", *TINY)
    assert code == 4
    assert "2 failed" in err
    assert "broken.jpg" in err
    assert "empty.png" in err
    assert files(tmp_path / "poses") == ["photo.json", "photo.overlay.jpg"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere.jpg", *TINY), 3, "nowhere.jpg"),
        (("photo.png", *TINY, "--boxes", "others.json"), 2, "leave out --detector"),
        (("photo.png", *TINY, "--threshold", "7"), 2, "between 0 and 1"),
        (
            ("photo.png", "--model", "random:vitpose-ti", "--boxes", "one.json", "--classes", "dog"),
            3,
            "no boxes of dog",
        ),
        (("empty.png", *TINY), 3, "empty.png"),
        (("photo.png", "--model", "random:vitpose-bb"), 2, "did you mean"),
        (("photo.png", "--model", "vitpose-bb"), 2, "did you mean"),
        (("photo.png", *TINY, "--dataset", "ap10k"), 2, "no head for dataset 'ap10k'"),
        (("photo.png", *TINY, "--skeleton", "coco71"), 2, "did you mean 'coco17'"),
        (("photo.png", *TINY, "--skeleton", "mpii16"), 2, "16 keypoints"),
        (("photo.png", *TINY, "--format", "jsno"), 2, "did you mean 'json'"),
        (("photo.png", *TINY, "--format", ""), 2, "--format names no format"),
        (("photo.png", *TINY, "--format", " , "), 2, "--format names no format"),
        (("photo.png", *TINY, "--format", "json,none"), 2, "none writes nothing, so it stands alone"),
        (("photo.png", *TINY, "--tracker", "pse"), 2, "unknown tracker 'pse'; did you mean 'pose'"),
        (("photo.png", *TINY, "--smooth", "kalmann"), 2, "did you mean 'kalman'"),
        (("pipe.png", *TINY), 3, "failed: pipe.png is a pipe, not a file"),
        (("gone.png", *TINY), 3, "failed: gone.png is a link to nowhere.png"),
        (("folder.jpg", *TINY), 3, "add --recursive"),
        (("photo.png", *TINY, "--threshold", "much"), 2, "much"),
        (("photo.png", *TINY, "--threshold", "left_wirst=0.5"), 2, "did you mean 'left_wrist'"),
        (("photo.png", *TINY, "--device", "abacus"), 2, "abacus"),
        (("photo.png", *TINY, "--engine", "steam"), 2, "steam"),
        (("photo.png", *TINY, "--colour", "red"), 2, "--colour"),
        (("photo.png", "--model", "usyd-community/vitpose-base", "--detector", "whole"), 5, "vitpose-base"),
        (("photo.png", "--model", "random:vitpose-ti", "--detector", "PekingU/rtdetr_r18vd"), 5, "rtdetr"),
        (("photo.png", "--model", "random:vitpose-ti", "--boxes", "others.json"), 3, "none of the 1 pictures"),
        (("photo.png", "--model", "random:vitpose-ti", "--boxes", "nan.json"), 3, "nan.json"),
        (("photo.png", "--model", "random:vitpose-ti", "--boxes", "photo.png"), 3, "photo.png"),
    ],
)
def test_exit_codes(
    run: Run,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "folder.jpg" / "deep").mkdir(parents=True)
    (tmp_path / "others.json").write_text(json.dumps({"another.png": [[0, 0, 5, 5]]}))
    (tmp_path / "one.json").write_text('[{"image_id": "photo.png", "category_id": 1, "bbox": [1, 2, 3, 4]}]')
    (tmp_path / "nan.json").write_text('{"photo.png": [[0, 0, NaN, 5]]}')
    ended, out, err = run("predict", *arguments)
    assert ended == code, err
    assert words in err
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "poses").exists() or not files(tmp_path / "poses")


def test_a_full_disk_leaves_no_half_file(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = run("predict", photo, *TINY, "--format", "json,coco,csv,parquet,overlay")
    assert code == 1
    assert "No space left on device" in err
    assert files(tmp_path / "poses") == []


def test_files_that_may_grow_no_more_are_not_left_half(photo: Path, tmp_path: Path) -> None:
    """A real limit of the operating system, on a process of its own."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); sys.argv[0] = 'vitpose';"
        "from vitpose.cli.main import main; main()"
    )
    arguments = ["predict", str(photo), *TINY, "--format", "json,coco,csv,parquet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "File too large; no half of it was left" in done.stderr
    assert files(tmp_path / "poses") == []


def test_an_error_late_in_the_run_keeps_what_is_finished(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitpose.core.errors import WeightsError
    from vitpose.pipeline.estimator import PoseEstimator

    real, calls = PoseEstimator.estimate, []

    def breaks(self: PoseEstimator, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise WeightsError("the detector is gone")
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PoseEstimator, "estimate", breaks)
    copies = [tmp_path / f"{number}.png" for number in range(20)]
    for copy in copies:
        copy.write_bytes(photo.read_bytes())
    code, _, err = run("predict", *copies, *TINY, "--format", "json,coco,csv,parquet")
    assert code == 5
    assert "the detector is gone" in err
    coco = json.loads((tmp_path / "poses" / "coco_results.json").read_text())
    assert [entry["image_id"] for entry in coco] == list(range(16))
    assert pyarrow.parquet.read_table(tmp_path / "poses" / "poses.parquet").num_rows == 16 * 17
    assert pyarrow.csv.read_csv(tmp_path / "poses" / "poses.csv").num_rows == 16 * 17


def test_one_picture_that_spoils_a_batch_is_passed_over(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitpose.core.errors import InputError
    from vitpose.pipeline.estimator import PoseEstimator

    real = PoseEstimator.estimate

    def picky(self: PoseEstimator, images: list[np.ndarray], boxes: object = None) -> object:
        if any(image.shape[0] == 30 for image in images):
            raise InputError("the detector chokes")
        return real(self, images, boxes)  # type: ignore[arg-type]

    monkeypatch.setattr(PoseEstimator, "estimate", picky)
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "odd.png")
    code, _, err = run("predict", photo, "odd.png", *TINY, "--format", "json")
    assert code == 4
    assert "odd.png: the detector chokes" in err
    assert files(tmp_path / "poses") == ["photo.json"]


def test_nothing_there_loads_no_model_and_replaces_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses/coco_results.json").write_text("mine")
    code, _, err = run("predict", "gone.png", "--model", "no-such-model", "--format", "coco")
    assert code == 3
    assert "gone.png does not exist" in err
    assert (tmp_path / "poses/coco_results.json").read_text() == "mine"


def test_a_missing_source_does_not_stop_the_others(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("photo.png\nnone.png\n")
    code, _, err = run("predict", "gone.png", "list.txt", *TINY, "--format", "json")
    assert code == 4
    assert "gone.png does not exist" in err
    assert "list.txt, line 2" in err
    assert files(tmp_path / "poses") == ["photo.json"]


def test_odd_and_long_names(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"bad\xff.png", b"x" * 240 + b".png", "späße 1.png".encode()):
        (folder / os.fsdecode(name)).write_bytes(photo.read_bytes())
    code, _, err = run("predict", folder, *TINY, "--format", "json,coco,csv,parquet")
    assert code == 0, err
    assert len(files(tmp_path / "poses")) == 6
    entries = json.loads((tmp_path / "poses" / "coco_results.json").read_text())
    assert len({entry["image_id"] for entry in entries}) == 3


def test_a_terminated_run_keeps_what_is_finished(photo: Path, tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number}.png").write_bytes(photo.read_bytes())
    arguments = [sys.executable, "-m", "vitpose", "predict", str(tmp_path), *TINY, "--format", "json,coco"]
    process = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "poses" / "0.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    written = files(tmp_path / "poses")
    assert not [name for name in written if ".part-" in name]
    entries = json.loads((tmp_path / "poses" / "coco_results.json").read_text())
    assert len(entries) == len(written) - 1
    assert 0 < len(entries) < 401


def test_a_run_that_is_terminated_while_it_loads_says_so(photo: Path, tmp_path: Path) -> None:
    """Right after the start, when nothing is loaded yet."""
    code = (
        "import os, signal, sys; import vitpose.cli.predict as verb;"
        "verb._preset = lambda _: os.kill(os.getpid(), signal.SIGTERM);"
        "from vitpose.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(photo), *TINY],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_the_users_is_written_over(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.json").write_text('{"labels": "mine"}')
    code, _, err = run("predict", photo, *TINY, "--out", tmp_path)
    assert code == 2
    assert "photo.json exists and is not a result" in err
    assert (tmp_path / "photo.json").read_text() == '{"labels": "mine"}'
    assert run("predict", photo, *TINY, "--out", "poses")[0] == 0
    assert run("predict", photo, *TINY, "--out", "poses")[0] == 0, "our own results may be renewed"
    code, _, _ = run("predict", tmp_path, *TINY, "-r", "--out", "again", "--format", "json")
    assert code == 0
    assert files(tmp_path / "again") == ["photo.json"], "overlays of an earlier run are not taken for pictures"


def test_pictures_called_like_the_files_about_everything(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "coco_results.png").write_bytes(photo.read_bytes())
    assert run("predict", "coco_results.png", *TINY, "--format", "json,coco", "--out", "r")[0] == 0
    assert files(tmp_path / "r") == ["coco_results-picture.json", "coco_results.json"]


def test_coco_ids_and_categories(run: Run, photo: Path, tmp_path: Path) -> None:
    for name in ("a/0001.png", "b/0001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    assert run("predict", "a/0001.png", "b/0001.png", *TINY, "--format", "coco", "--out", "r")[0] == 0
    entries = json.loads((tmp_path / "r" / "coco_results.json").read_text())
    assert len({entry["image_id"] for entry in entries}) == 2
    boxes = {
        "images": [{"id": 77, "file_name": "photo.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "okapi"}],
        "annotations": [
            {"id": 1, "image_id": 77, "category_id": 5, "bbox": [1, 2, 30, 40]},
            {"id": 2, "image_id": 77, "category_id": 6, "bbox": [1, 2, 30, 40]},
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    code, _, err = run(
        "predict", photo, "--model", "random:vitpose-ti", "--boxes", "boxes.json", "--format", "coco", "--out", "s"
    )
    assert code == 0, err
    entries = json.loads((tmp_path / "s" / "coco_results.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [(77, 18), (77, 1002)]
    table = json.loads((tmp_path / "s" / "coco_categories.json").read_text())
    assert table == [{"id": 18, "name": "dog"}, {"id": 1002, "name": "okapi"}]


def test_an_interrupt_keeps_what_is_finished(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitpose.pipeline.pictures import PictureWork

    done = []
    real = PictureWork._entry

    def interrupted(*arguments: object) -> object:
        if len(done) == 16:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PictureWork, "_entry", interrupted)
    copies = []
    for number in range(20):
        copies.append(tmp_path / f"{number}.png")
        copies[-1].write_bytes(photo.read_bytes())
    code, _, err = run("predict", *copies, *TINY, "--format", "json,coco")
    assert code == 130, err
    written = files(tmp_path / "poses")
    assert "coco_results.json" in written
    assert len(json.loads((tmp_path / "poses" / "coco_results.json").read_text())) == len(written) - 1 == 16


def test_the_threshold_and_the_passes_are_recorded(run: Run, photo: Path) -> None:
    options = ("--threshold", "0.4", "--threshold", "nose=0.9", "--flip-test", "--refine")
    code, out, _ = run("predict", photo, *TINY, *options, "--format", "none", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["threshold"] == [0.9] + [0.4] * 16
    settings = {"flip_test": True, "refine": True, "decode_sigma": 2.0, "classes": None, "box_threshold": 0.3}
    assert document["model"]["settings"] == settings | {"max_people": None}


def test_folders_globs_and_lists(run: Run, photo: Path, tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/deep/2.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.read_bytes())
    (tmp_path / "list.txt").write_text("# two\na/1.png\nb/1.png\n")
    assert run("predict", "b", *TINY, "-r", "--out", "o1", "--format", "json")[0] == 0
    assert files(tmp_path / "o1") == ["1.json", "deep/2.json"]
    assert run("predict", "list.txt", *TINY, "--out", "o2", "--format", "json")[0] == 0
    assert len(files(tmp_path / "o2")) == 2, "pictures of one name in two folders do not overwrite each other"
    assert run("predict", "*/1.png", *TINY, "--out", "o3", "--format", "json")[0] == 0
    assert len(files(tmp_path / "o3")) == 2


def test_a_video_gives_one_line_a_frame(run: Run, shared: Path, tmp_path: Path) -> None:
    video = shared / "data" / "videos" / "mmpose_demo.mp4"
    code, _, err = run("predict", video, *TINY, "--format", "json,parquet")
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "poses" / "mmpose_demo.jsonl").read_text().splitlines()]
    assert [line["image"]["frame"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= 5
    times = [line["image"]["time_s"] for line in lines]
    assert times == sorted(times)
    people = sum(len(line["people"]) for line in lines)
    assert pyarrow.parquet.read_table(tmp_path / "poses" / "mmpose_demo.parquet").num_rows == people > 0


def test_real_pictures_with_their_labelled_boxes(run: Run, shared: Path, tmp_path: Path) -> None:
    labels = shared / "data" / "coco" / "person_keypoints_val.json"
    table = json.loads(labels.read_text())
    chosen = [image for image in table["images"] if any(a["image_id"] == image["id"] for a in table["annotations"])][:6]
    pictures = [shared / "data" / "coco" / "images" / image["file_name"] for image in chosen]
    code, out, err = run(
        "predict", *pictures, "--model", "random:vitpose-ti", "--boxes", labels, "--flip-test", "--json", "--out", "r"
    )
    assert code == 0, err
    for image, line in zip(chosen, out.splitlines(), strict=True):
        poses = Poses.from_dict(json.loads(line))
        people = [a for a in table["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        boxes = [person["bbox"] for person in people]
        assert len(poses) == len(boxes)
        assert poses.image_size == (image["height"], image["width"])
        np.testing.assert_allclose(poses.boxes[:, 2] - poses.boxes[:, 0], [box[2] for box in boxes], atol=1e-3)
        assert np.isfinite(poses.xy).all()
        # Whatever the weights, a keypoint lies in the region that was seen.
        center = (poses.boxes[:, None, :2] + poses.boxes[:, None, 2:]) / 2
        reach = 0.7 * np.maximum(*(poses.boxes[:, None, 2:] - poses.boxes[:, None, :2]).T).T[..., None] * 4 / 3
        assert (np.abs(poses.xy - center) <= reach + 2).all()
