"""Any detector of transformers runs offline and without torchvision, and its boxes land where they belong."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_detectors import KINDS, NAMES, save_detector

from vitpose.core.errors import UsageError, WeightsError
from vitpose.detectors.huggingface import HuggingFaceDetector
from vitpose.detectors.preprocess import load_preprocess

ALL = tuple(NAMES.values())


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=KINDS)
def detector(request, tmp_path_factory):
    folder = save_detector(tmp_path_factory.mktemp(request.param), request.param)
    return HuggingFaceDetector(folder, classes=ALL, threshold=0.0, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("rt_detr"))


def answering(folder, boxes, scores, **options):
    """A detector whose network answers the same for every picture.

    ``boxes`` are centre x, y, width, height in 0..1, ``scores`` one a class for each of them.
    """
    detector = HuggingFaceDetector(folder, device="cpu", **options)
    logits = torch.logit(torch.tensor(scores, dtype=torch.float32).reshape(-1, len(NAMES)))
    normalised = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)

    def forward(pixel_values, **_options):
        repeat = (len(pixel_values), 1, 1)
        return SimpleNamespace(logits=logits.repeat(repeat), pred_boxes=normalised.repeat(repeat))

    detector._model.forward = forward
    return detector


def test_boxes_lie_in_their_pictures_and_come_best_first(detector):
    pictures = [picture(120, 200), picture(90, 40), picture(1, 1)]
    found = detector(pictures)
    assert len(found) == 3
    for image, boxes in zip(pictures, found, strict=True):
        height, width = image.shape[:2]
        assert (boxes.xyxy >= 0).all()
        assert (boxes.xyxy <= [width, height, width, height]).all()
        assert (np.diff(boxes.scores) <= 0).all()
        assert set(boxes.labels) <= set(ALL)
    assert sum(map(len, found)) > 0


def test_a_batch_of_different_sizes_gives_what_single_pictures_give(detector):
    pictures = [
        picture(120, 200, 0),
        picture(90, 40, 1),
        picture(120, 200, 2),
        picture(300, 100, 3),
        picture(60, 100, 4),
    ]
    together = detector(pictures)
    for image, boxes in zip(pictures, together, strict=True):
        (alone,) = detector([image])
        np.testing.assert_allclose(boxes.xyxy, alone.xyxy, atol=1e-2)
        np.testing.assert_allclose(boxes.scores, alone.scores, atol=1e-5)
        assert boxes.labels == alone.labels


def test_no_pictures_give_no_answers(detector):
    assert detector([]) == []


def test_known_boxes_are_scaled_to_each_picture(folder):
    boxes = [[0.5, 0.5, 0.5, 0.25], [0.25, 0.75, 0.1, 0.1]]
    detector = answering(folder, boxes, [[0.9, 0.1, 0.1], [0.6, 0.1, 0.1]])
    wide, tall = detector([picture(100, 200), picture(400, 40)])
    np.testing.assert_allclose(wide.xyxy, [[50, 37.5, 150, 62.5], [40, 70, 60, 80]], rtol=1e-6)
    np.testing.assert_allclose(tall.xyxy, [[10, 150, 30, 250], [8, 280, 12, 320]], rtol=1e-6)
    np.testing.assert_allclose(wide.scores, [0.9, 0.6], rtol=1e-6)
    assert wide.labels == ("person", "person")


def test_boxes_are_clipped_and_those_without_area_left_out(folder):
    boxes = [[0.0, 0.0, 1.0, 1.0], [1.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.3]]
    (found,) = answering(folder, boxes, [[0.9, 0, 0]] * 3)([picture(100, 200)])
    np.testing.assert_allclose(found.xyxy, [[0, 0, 100, 50]])


def test_nobody_gives_empty_boxes(folder):
    (found,) = answering(folder, [[0.5, 0.5, 0.5, 0.5]], [[0.29, 0.99, 0.99]])([picture(50, 50)])
    assert found.xyxy.shape == (0, 4)
    assert found.labels == ()


def test_the_threshold_counts_for_the_wanted_classes_only(folder):
    boxes, scores = [[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.1, 0.1]], [[0.4, 0.9, 0.1], [0.1, 0.2, 0.95]]
    assert len(answering(folder, boxes, scores)([picture(50, 50)])[0]) == 1
    assert len(answering(folder, boxes, scores, threshold=0.5)([picture(50, 50)])[0]) == 0
    (animals,) = answering(folder, boxes, scores, classes=("HORSE", "Dog"))([picture(50, 50)])
    assert animals.labels == ("Horse", "dog")
    np.testing.assert_allclose(animals.scores, [0.95, 0.9], rtol=1e-6)


def test_one_animal_seen_as_two_kinds_is_one_box(folder):
    boxes = [[0.5, 0.5, 0.4, 0.4], [0.501, 0.5, 0.4, 0.4], [0.55, 0.5, 0.4, 0.4]]
    scores = [[0, 0.6, 0.5], [0, 0.3, 0.8], [0, 0.7, 0]]
    (found,) = answering(folder, boxes, scores, classes=("dog", "horse"))([picture(1000, 1000)])
    assert found.labels == ("Horse", "dog")  # the third overlaps by less than a duplicate does
    np.testing.assert_allclose(found.scores, [0.8, 0.7], rtol=1e-6)


def test_max_people_keeps_the_best(folder):
    boxes = [[0.1 * i + 0.1, 0.5, 0.08, 0.3] for i in range(8)]
    scores = [[0.3 + 0.05 * i, 0, 0] for i in range(8)]
    (found,) = answering(folder, boxes, scores, max_people=3)([picture(100, 100)])
    np.testing.assert_allclose(found.scores, [0.65, 0.6, 0.55], rtol=1e-5)


def test_a_softmax_network_leaves_out_its_class_for_nothing(tmp_path):
    detector = HuggingFaceDetector(save_detector(tmp_path, "detr"), device="cpu", threshold=0.4)
    logits = torch.tensor([[[2.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 9.0], [5.0, 5.1, 0.0, 0.0]]])

    def forward(pixel_values, pixel_mask):
        assert pixel_mask.shape[-2:] == pixel_values.shape[-2:]
        assert pixel_mask.all()
        return SimpleNamespace(logits=logits, pred_boxes=torch.tensor([[[0.5, 0.5, 1.0, 1.0]] * 3]))

    detector._model.forward = forward
    (found,) = detector([picture(20, 20)])
    assert found.scores == pytest.approx([float(logits[0, 0].softmax(-1)[0])])


@pytest.mark.parametrize("kind", ["rt_detr", "d_fine", "detr", "yolos"])
def test_everything_transformers_finds_is_found(tmp_path, kind, monkeypatch):
    """Its own post-processing ranks all classes together and cuts the list; here every class is looked at alone."""
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    monkeypatch.setattr("vitpose.detectors.huggingface.DUPLICATE_IOU", 1.0)
    folder = save_detector(tmp_path, kind, seed=3)
    image = picture(77, 130)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(image, return_tensors="pt")
    if kind == "yolos":
        del inputs["pixel_mask"]
    with torch.inference_mode():
        (expected,) = processor.post_process_object_detection(model(**inputs), 0.0, target_sizes=[(77, 130)])
    compared = 0
    for index, name in NAMES.items():
        (found,) = HuggingFaceDetector(folder, threshold=0.0, device="cpu", classes=[name])([image])
        chosen = expected["labels"] == index
        for box, score in zip(expected["boxes"][chosen], expected["scores"][chosen], strict=True):
            distance = np.abs(found.xyxy - box.numpy().clip(0, [130, 77, 130, 77])).max(axis=1)
            assert distance.min() < 1e-3
            assert found.scores[distance.argmin()] == pytest.approx(float(score), abs=1e-5)
            compared += 1
    assert compared == 12


def test_rf_detr_is_prepared_as_its_own_processor_does(tmp_path):
    """Written out by hand: transformers' processor for it needs torchvision."""
    folder = save_detector(tmp_path, "rf_detr")
    image = np.zeros((112, 168, 3), np.uint8)
    image[:, :, 0] = 255
    inputs = load_preprocess(folder, "rf_detr")(image)
    assert inputs["pixel_values"].shape == (1, 3, 56, 56)
    assert inputs["pixel_mask"].shape == (1, 56, 56)
    red, green, blue = inputs["pixel_values"][0, :, 20, 20].tolist()
    assert (red, green, blue) == pytest.approx(((1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225), rel=1e-5)
    stripes = np.zeros((112, 112, 3), np.uint8)
    stripes[:, 0::4] = 255  # without antialiasing one of two columns is read, half and half with its neighbour
    values = load_preprocess(folder, "rf_detr")(stripes)["pixel_values"][0, 0, 10] * 0.229 + 0.485
    assert values[:4].tolist() == pytest.approx([0.5, 0.0, 0.5, 0.0], abs=1e-6)


def test_the_callers_pictures_are_not_changed(detector):
    image = picture(50, 60)
    before = image.copy()
    image.flags.writeable = False
    detector([image])
    np.testing.assert_array_equal(image, before)


def test_unknown_classes_name_the_nearest(folder):
    with pytest.raises(UsageError, match=r"'hors'; did you mean 'Horse'"):
        HuggingFaceDetector(folder, classes=["dog", "hors"], device="cpu")
    for classes in ("person", ()):
        with pytest.raises(UsageError, match="list of names"):
            HuggingFaceDetector(folder, classes=classes, device="cpu")


@pytest.mark.parametrize(
    "options",
    [{"threshold": 1.5}, {"threshold": float("nan")}, {"batch_size": 0}, {"max_people": 0}, {"device": "toaster"}],
)
def test_impossible_options_are_refused(folder, options):
    with pytest.raises(UsageError):
        HuggingFaceDetector(folder, **{"device": "cpu"} | options)


def test_weights_that_are_not_to_be_had_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "bare").mkdir()
    for name in (tmp_path / "bare", tmp_path / "none", "nobody/no-such-detector"):
        with pytest.raises(WeightsError, match=r"--boxes.*--detector whole") as caught:
            HuggingFaceDetector(name, device="cpu")
        assert caught.value.exit_code == 5
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_incomplete_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_detector(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    removed = next(key for key in weights if "class_embed" in key)
    save_file(
        {key: value for key, value in weights.items() if key != removed},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(WeightsError, match="incomplete"):
        HuggingFaceDetector(folder, device="cpu")
    (tmp_path / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        HuggingFaceDetector(folder, device="cpu")


def test_without_settings_for_the_pictures(tmp_path):
    folder = save_detector(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        HuggingFaceDetector(folder, device="cpu")


def test_models_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vitpose"}))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        HuggingFaceDetector(tmp_path, device="cpu")


def test_transformers_has_nothing_to_complain_about(tmp_path, caplog):
    folder = save_detector(tmp_path)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        HuggingFaceDetector(folder, device="cpu")([picture(30, 30)])
    finally:
        logger.removeHandler(caplog.handler)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
