"""Training of the person detector: pictures, assignment, and a run that learns, stops and goes on."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detector_program import TINY, tiny_run

from vitpose.core.errors import InputError, UsageError, WeightsError
from vitpose.core.skeleton import load_skeleton
from vitpose.data.resident import PictureStore
from vitpose.detectors.embedded import EmbeddedDetector
from vitpose.evaluation.detection import evaluate_detector
from vitpose.models.detector import Cells, DetectorSpec, PersonNet
from vitpose.models.pose import create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.training import detector_cpu
from vitpose.training.detector_data import IGNORED, NOBODY, PERSON, PictureBatch, PictureLaw, ResidentPictures
from vitpose.training.detector_labels import PART_OF, LabelledPicture, read_pictures
from vitpose.training.detector_loss import assign, detection_loss, generalized_iou
from vitpose.training.detector_parts import PARTS, PartsLoss, parts_asked, parts_target
from vitpose.training.detector_run import train_detector
from vitpose.training.state import RunFolder, load_state
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.detector import load_detector, save_detector, start_detector

SIDE = TINY.side
PLAIN = PictureLaw(scale=(0.999, 1.001), aspect=0.0, flip=0.0, mosaic=0.0, color=0.0)


def make_pictures(folder, rng, count=12):
    """Grey pictures, each with one bright upright rectangle."""
    images, annotations = [], []
    for number in range(count):
        picture = rng.integers(60, 90, (60, 80, 3), dtype=np.uint8)
        x, y, w, h = rng.integers(0, 50), rng.integers(0, 25), rng.integers(14, 26), rng.integers(28, 34)
        picture[y : y + h, x : x + w] = (30, 30, 240)  # OpenCV writes blue first
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "all_persons_annotated": number != 1})
        annotations.append({"image_id": number, "bbox": [int(x), int(y), int(w), int(h)], "iscrowd": int(number == 2)})
    path = folder / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return read_pictures(path, folder)


@pytest.fixture
def pictures(tmp_path, rng):
    return make_pictures(tmp_path, rng)


def test_files_are_read_with_crowds_and_gaps(pictures, tmp_path):
    assert [one.complete for one in pictures[:3]] == [True, False, True]
    assert [bool(one.crowd[0]) for one in pictures[:3]] == [False, False, True]
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"images": [{"id": 1, "file_name": "0.png"}]}))
    assert read_pictures(empty, tmp_path)[0].boxes.shape == (0, 4)
    empty.write_text("[]")
    with pytest.raises(InputError, match="COCO"):
        read_pictures(empty, tmp_path)


@pytest.mark.parametrize("law", [PLAIN, replace(PLAIN, flip=1.0), replace(PLAIN, mosaic=1.0), PictureLaw(color=0.0)])
def test_boxes_move_with_the_pixels(pictures, law):
    source = ResidentPictures.of(pictures, SIDE, law=law)
    batch = source.draw(np.arange(12), np.random.default_rng(1))
    assert batch.images.shape == (12, SIDE, SIDE, 3)
    checked = 0
    for image, boxes, kinds in zip(batch.images.numpy(), batch.boxes.numpy(), batch.kinds.numpy(), strict=True):
        red = image[..., 0].astype(int) - image[..., 1] > 100
        outside = red.copy()
        for box in boxes[kinds != NOBODY]:
            x1, y1, x2, y2 = np.round(box).astype(int)
            outside[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = False
        assert not outside.any()
        for x1, y1, x2, y2 in boxes[kinds == PERSON]:
            inside = red[round(float(y1)) : round(float(y2)), round(float(x1)) : round(float(x2))]
            assert inside.mean() > 0.8
            checked += 1
    assert checked >= 6


def test_incomplete_pictures_teach_nothing_outside_their_boxes(pictures):
    batch = ResidentPictures.of(pictures, SIDE, law=PLAIN).draw(np.arange(3), np.random.default_rng(0))
    assert sorted(batch.kinds[1][batch.kinds[1] > 0].tolist()) == [PERSON, IGNORED]
    assert batch.kinds[2][batch.kinds[2] > 0].tolist() == [IGNORED]
    with pytest.raises(UsageError, match="no pictures"):
        ResidentPictures.of([], SIDE)


def grid_cells(boxes, logits=None):
    centers = torch.tensor([[x, 8.0] for x in range(4, 68, 8)])
    return Cells(torch.zeros(1, 8) if logits is None else logits, boxes, centers, torch.zeros(1, 4, 1, 8))


def test_cells_go_to_the_person_their_box_fits():
    people = torch.tensor([[[0.0, 0, 32, 16], [32.0, 0, 64, 16], [0, 0, 0, 0]]])
    said = torch.cat([people[:, :1].expand(1, 4, 4), people[:, 1:2].expand(1, 4, 4)], dim=1)
    target, place = assign(grid_cells(said), people, torch.tensor([[True, True, False]]))
    assert place[0].tolist() == [0] * 4 + [1] * 4
    torch.testing.assert_close(target, torch.ones(1, 8))
    nobody, _ = assign(grid_cells(said), people, torch.zeros(1, 3, dtype=torch.bool))
    assert not nobody.any()


def test_loss_is_small_for_right_answers_and_blind_in_ignored_places():
    people = torch.tensor([[[0.0, 0, 32, 16], [32.0, 0, 64, 16]]])
    said = torch.cat([people[:, :1].expand(1, 4, 4), people[:, 1:].expand(1, 4, 4)], dim=1)
    sure = torch.tensor([[9.0] * 4 + [-9.0] * 4])
    kinds = torch.tensor([[PERSON, NOBODY]])
    right, _ = detection_loss(grid_cells(said, sure), people, kinds)
    wrong, _ = detection_loss(grid_cells(said, -sure), people, kinds)
    assert float(right) < 0.01
    assert float(wrong) > 5
    everywhere = torch.full((1, 8), 9.0)
    false, _ = detection_loss(grid_cells(said, everywhere), people, kinds)
    blind, _ = detection_loss(grid_cells(said, everywhere), people, torch.tensor([[PERSON, IGNORED]]))
    assert float(false) > 5
    assert float(blind) < 0.01


def test_generalized_iou_tells_far_from_near():
    box = torch.tensor([0.0, 0, 10, 10])
    near, far = (generalized_iou(box, box + shift) for shift in (20.0, 90.0))
    assert float(generalized_iou(box, box)) == pytest.approx(1)
    assert -1 < float(far) < float(near) < 0


def test_run_learns_to_find_rectangles(pictures, tmp_path):
    source = ResidentPictures.of(pictures, SIDE, law=replace(PLAIN, flip=0.5))
    judged = [(one.path, one.truth) for one in pictures]

    def evaluate(net):
        scores = evaluate_detector(EmbeddedDetector(net, device="cpu", threshold=0.01), judged)
        return {"score": scores.recall_tall, "ap50": scores.ap50}

    outcome = train_detector(tiny_run(50), source, tmp_path / "run", evaluate=evaluate)
    assert outcome.finished
    assert outcome.scores["score"] > 0.7
    best, last = (load_detector(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    assert best.metadata["scores"]["ap50"] == pytest.approx(outcome.scores["ap50"])
    # Judged at the end and only there: what was judged is what is kept, the average.
    kept = last.net.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in best.net.state_dict().items())
    raw = load_state(tmp_path / "run" / "state.pt")[1]["objective"]
    assert not all(torch.equal(value, raw[f"model.{name}"]) for name, value in kept.items())


def test_stopped_run_goes_on_to_the_same_end(pictures, tmp_path):
    source = ResidentPictures.of(pictures, SIDE)
    train_detector(tiny_run(4), source, tmp_path / "whole")
    first = train_detector(tiny_run(4), source, tmp_path / "parts", minutes=1e-9)
    assert (first.finished, first.progress.step) == (False, 1)
    written = tmp_path / "parts" / "config.json"
    settings = json.loads(written.read_text())
    del settings["optim"]["muon_lr"]  # as if the run had been begun before there was such a setting
    written.write_text(json.dumps(settings))
    assert train_detector(tiny_run(4), source, tmp_path / "parts").finished
    one, other = (load_detector(tmp_path / name / "last.safetensors").net.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(UsageError, match="other settings"):
        train_detector(tiny_run(5), source, tmp_path / "parts")
    written.write_text("{")
    with pytest.raises(UsageError, match=r"config\.json cannot be read"):
        train_detector(tiny_run(4), source, tmp_path / "parts")


def test_truth_of_a_picture_takes_its_height():
    from vitpose.core.geometry import Size

    one = LabelledPicture(None, np.array([[0.0, 0, 10, 30]]), np.zeros(1, bool), np.full((1, 13, 2), np.nan))
    assert one.truth(Size(100, 50)).tall.tolist() == [True]
    assert one.truth(Size(200, 50)).tall.tolist() == [False]


def test_parts_are_read_by_name_whatever_a_set_calls_them(tmp_path):
    def file(names, points):
        entry = {"image_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [value for point in points for value in point]}
        plain = {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [entry]}
        path = tmp_path / "points.json"
        path.write_text(json.dumps(plain | {"categories": [{"keypoints": names}]}))
        (picture,) = read_pictures(path, tmp_path)
        return picture.points[0]

    found = file(["right_knee", "left_eye", "nose"], [(1, 2, 1), (9, 9, 2), (3, 4, 2)])
    assert found[np.isfinite(found).all(axis=1)].tolist() == [[3, 4], [1, 2]]
    assert [PART_OF[slot] for slot in np.flatnonzero(np.isfinite(found[:, 0]))] == [0, 5]
    athlete = file(["neck", "head_top", "left_hip"], [(2, 4, 2), (4, 8, 2), (5, 5, 0)])
    assert athlete[np.isfinite(athlete).all(axis=1)].tolist() == [[3, 6]]
    assert np.isnan(file(["neck", "head_top"], [(2, 4, 2), (4, 8, 0)])).all()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_parts_move_with_the_pixels(tmp_path, flip):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[28:33, 8:13] = 255
    cv2.imwrite(str(tmp_path / "0.png"), picture)
    points = np.full((1, len(PART_OF), 2), np.nan)
    points[0, 5] = (10.5, 30.5)
    one = LabelledPicture(tmp_path / "0.png", np.array([[5.0, 5, 20, 35]]), np.zeros(1, bool), points)
    law = replace(PLAIN, flip=flip, mosaic=0.0, scale=(0.7, 1.0))
    batch = ResidentPictures.of([one], SIDE, law=law).draw(np.zeros(8, np.int64), np.random.default_rng(0))
    for image, where in zip(batch.images.numpy(), batch.points[:, 0, 5].numpy(), strict=True):
        rows, columns = np.nonzero(image[..., 0] > 100)
        np.testing.assert_allclose(where, [columns.mean() + 0.5, rows.mean() + 0.5], atol=0.6)


def parts_batch():
    points = torch.full((1, 3, len(PART_OF), 2), torch.nan)
    points[0, 0, 3] = torch.tensor([20.0, 12.0])
    boxes = torch.tensor([[[0.0, 0, 32, 64], [32, 0, 64, 32], [32, 32, 64, 64]]])
    return PictureBatch(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), boxes, torch.tensor([[1, 1, 2]]), points)


def test_parts_are_taught_where_they_are_known():
    centers = torch.tensor([[x, y] for y in range(4, 64, 8) for x in range(4, 64, 8)]).float()
    target, asked = parts_target(centers, parts_batch()), parts_asked(centers, parts_batch())
    assert target.shape == (1, PARTS, 64)
    assert target[0].amax(dim=1).nonzero().tolist() == [[PART_OF[3]]]
    assert centers[int(target[0, PART_OF[3]].argmax())].tolist() == [20, 12]
    assert torch.equal(asked[0], centers[:, 0] < 32), "nobody knows the parts of the others"
    loss = PartsLoss(4)
    cells = Cells(torch.zeros(1, 64), torch.zeros(1, 64, 4), centers, torch.zeros(1, 4, 8, 8, requires_grad=True))
    loss(cells, parts_batch()).backward()
    assert cells.features.grad.abs().sum() > 0


def test_the_way_of_the_cpu_gives_the_pictures_of_the_other(pictures, monkeypatch):
    source = ResidentPictures.of(pictures, SIDE, law=PictureLaw(aspect=0.1, mosaic=0.3))
    fast = source.draw(np.arange(6), np.random.default_rng(2))
    monkeypatch.setattr("vitpose.training.detector_data.warped", PictureStore.warp)
    plain = source.draw(np.arange(6), np.random.default_rng(2))
    assert torch.equal(fast.boxes, plain.boxes)
    assert (fast.images.float() - plain.images.float()).abs().mean() < 2
    changes = np.random.default_rng(0).uniform(-0.3, 0.3, (6, 5)).astype(np.float32)
    recolored = detector_cpu.recolored(plain.images, changes)
    assert not torch.equal(recolored, plain.images)
    assert torch.equal(detector_cpu.recolored(plain.images, 0 * changes), plain.images)
    assert torch.equal(recolored.sum(-1) == 0, plain.images.sum(-1) == 0), "black stays black"


def test_pictures_grow_in_the_course_of_a_run(pictures, tmp_path):
    config = replace(tiny_run(2), growth=((0.5, 32),), parts=0.5, log_every=2)
    assert [config.side(part) for part in (0.0, 0.49, 0.5, 1.0)] == [32, 32, SIDE, SIDE]
    assert train_detector(config, ResidentPictures.of(pictures, SIDE), tmp_path / "run").finished
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "loss/parts" in text
    saved = load_detector(tmp_path / "run" / "last.safetensors")
    assert not any(name.startswith("parts") for name in saved.net.state_dict())


def two_processes(folder):
    program = Path(__file__).with_name("detector_program.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(program)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_two_processes_train_one_network(pictures, tmp_path):
    done = two_processes(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"left-{number}.pt") for number in (0, 1))
    assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())
    shapes = {tuple(images.shape) for one in (first, second) for images in one["images"]}
    assert shapes == {(3, SIDE, SIDE, 3)}, "each has half of every batch"
    assert not any(torch.equal(*pair) for pair in zip(first["images"], second["images"], strict=True))
    assert (first["judged"], second["judged"]) == ([4, 6], [])
    assert first["scores"] == second["scores"] == {"score": 6.0}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 7))
    # What the loss is divided by is everybody's, so that the mean of the gradients is that of the whole batch.
    assert first["means"] == second["means"]
    assert sum(first["sums"]) + sum(second["sums"]) == pytest.approx(2 * sum(first["means"]))
    assert first["sums"] != second["sums"]
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    again = two_processes(tmp_path)
    assert again.returncode == 0, again.stderr[-2000:]
    assert not torch.load(tmp_path / "left-0.pt")["images"], "a finished run does nothing"
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def pose_file(tmp_path, stem="convolutions"):
    stems = {"stem": stem, "stem_depths": (1, 1, 0)} if stem == "convolutions" else {}
    spec = ModelSpec(
        name="pose",
        backbone=BackboneSpec(width=32, depth=1, heads=2, **stems),
        heads=(HeadSpec(dataset="coco", skeleton="coco17", keypoints=17, kind="simple"),),
        input_size=(64, 48),
    )
    model = create_model(spec)
    save_checkpoint(tmp_path / "pose.safetensors", model, {"coco": load_skeleton("coco17")})
    return model, tmp_path / "pose.safetensors"


def test_network_starts_from_the_stem_of_a_pose_model(pictures, tmp_path):
    model, path = pose_file(tmp_path)
    spec = DetectorSpec(side=SIDE, widths=(8, 16, 32, 16), depths=(1, 1, 0, 0), blocks=1, heads=2, neck=8)
    net = PersonNet(spec)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start_detector(net, path)
    stem = model.backbone.patch_embed
    mine = [net.stem, *net.stages[:3]]
    for own, other in zip(mine, [stem.first, *stem.stages], strict=True):
        theirs = other.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in own.state_dict().items())
    after = net.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if not name.startswith(("stem.", "stages.0", "stages.1", "stages.2"))} <= same
    config = replace(tiny_run(1), spec=spec, start=str(path))
    assert train_detector(config, ResidentPictures.of(pictures, SIDE), tmp_path / "run").finished
    again = PersonNet(spec)
    start_detector(again, tmp_path / "run" / "last.safetensors")
    trained = load_detector(tmp_path / "run" / "last.safetensors").net.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in again.state_dict().items())


def test_a_start_that_fails_leaves_the_folder_to_the_next(pictures, tmp_path):
    source = ResidentPictures.of(pictures, SIDE)
    with pytest.raises(WeightsError, match="no-such"):
        train_detector(replace(tiny_run(1), start=str(tmp_path / "no-such")), source, tmp_path / "run")
    assert train_detector(tiny_run(1), source, tmp_path / "run").finished


def test_two_runs_do_not_share_a_folder(pictures, tmp_path):
    source = ResidentPictures.of(pictures, SIDE)
    with RunFolder(tmp_path / "run").held_alone(), pytest.raises(UsageError, match="another process is training"):
        train_detector(tiny_run(1), source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_no_start(tmp_path):
    net = PersonNet(TINY)
    _, patches = pose_file(tmp_path, "patches")
    with pytest.raises(WeightsError, match="no stem of convolutions"):
        start_detector(net, patches)
    _, wider = pose_file(tmp_path)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=r"stem, part 2"):
        start_detector(net, wider)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "nothing half copied"
    save_detector(tmp_path / "other.safetensors", PersonNet(replace(TINY, neck=8)))
    with pytest.raises(WeightsError, match="lateral"):
        start_detector(net, tmp_path / "other.safetensors")
