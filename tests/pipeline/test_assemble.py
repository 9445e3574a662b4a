"""Names to objects."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import vitpose
from vitpose.core.errors import InputError, MissingExtraError, UsageError, WeightsError
from vitpose.core.poses import Boxes
from vitpose.models.pose import create_model
from vitpose.models.variants import PLUS_HEADS, BackboneSpec, ModelSpec, plus
from vitpose.pipeline import assemble, estimator
from vitpose.weights import catalog

PLUS = ModelSpec(name="small-plus", backbone=plus(BackboneSpec(width=48, depth=1, heads=3)), heads=PLUS_HEADS)
IMAGE = np.zeros((40, 60, 3), np.uint8)


class Network:
    """Stands for a detector of the hub; keeps what it was asked for."""

    asked: list[dict[str, object]] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, name: str, **settings: object) -> None:
        self.name = name
        self.classes: tuple[str, ...] = settings["classes"]  # type: ignore[assignment]
        Network.asked.append({"name": name, **settings})

    def for_classes(self, classes: Sequence[str]) -> "Network":
        other = object.__new__(Network)
        other.name, other.classes = self.name, tuple(classes)
        return other

    def __call__(self, images: Sequence[np.ndarray]) -> list[Boxes]:
        return [Boxes(np.array([[5, 5, 30, 35]]), labels=(self.classes[0],)) for _ in images]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Network]:
    Network.asked = []
    monkeypatch.setattr(catalog, "_packaged_folder", lambda: tmp_path)  # or the detector there would be taken
    monkeypatch.setattr(assemble, "HuggingFaceDetector", Network)
    return Network


def test_each_head_gets_what_it_needs_found_from_one_network(network: type[Network]) -> None:
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", max_people=3, box_threshold=0.4)
    assert network.asked == [], "nothing is loaded before it is needed"
    assert pose(IMAGE).labels == ("person",)
    assert pose(IMAGE, dataset="ap10k").labels == ("bird",)
    assert pose.for_dataset("apt36k").detector is not None
    assert pose.for_dataset("mpii")(IMAGE).labels == ("person",)
    assert len(network.asked) == 1, "the weights are loaded once"
    assert network.asked[0] | {"device": 0} == {
        "name": assemble.DEFAULT_DETECTOR, "threshold": 0.4, "classes": ("person",), "device": 0, "max_people": 3,
    }  # fmt: skip


def test_a_detector_need_not_know_what_other_heads_look_for(
    network: type[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Animals(Network):
        def __init__(self, name: str, **settings: object) -> None:
            if settings["classes"] != assemble.ANIMALS:
                raise UsageError("does not know 'person'")
            super().__init__(name, **settings)

    monkeypatch.setattr(assemble, "HuggingFaceDetector", Animals)
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", dataset="ap10k", detector="owner/animals")
    assert pose(IMAGE).labels == ("bird",)


def test_the_packages_detector_is_not_asked_for_animals(shared: Path) -> None:
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", dataset="ap10k", detector="embedded")
    with pytest.raises(UsageError, match="does not know 'bird'"):
        pose(IMAGE)
    assert pose.for_dataset("mpii")(IMAGE).labels == ()


def test_named_classes_hold_for_every_head(network: type[Network]) -> None:
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", classes=("dog", "cow"))
    assert pose(IMAGE).labels == ("dog",)
    assert pose(IMAGE, dataset="ap10k").labels == ("dog",)
    assert dict(pose(IMAGE).model.settings)["classes"] == ("dog", "cow")


def test_thresholds_go_by_name_and_not_by_position(network: type[Network]) -> None:
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", threshold={"*": 0.2, "left_ankle": 0.9})
    coco = pose(IMAGE, boxes=[[5, 5, 30, 35]])
    assert coco.threshold[15] == pytest.approx(0.9)
    assert coco.threshold[0] == pytest.approx(0.2)
    animal = pose(IMAGE, boxes=[[5, 5, 30, 35]], dataset="ap10k")
    assert animal.threshold == pytest.approx(0.2), "it has no left_ankle"
    with pytest.raises(UsageError, match="did you mean 'left_ankle'"):
        vitpose.load(create_model(PLUS, seed=0), engine="eager", threshold={"left_ankel": 0.9})
    with pytest.raises(UsageError, match="between 0 and 1"):
        vitpose.load(create_model(PLUS, seed=0), engine="eager", threshold=7)


def test_an_engine_that_is_handed_in_runs_the_head_it_was_made_for() -> None:
    model = create_model(PLUS, seed=0).eval()
    animals = vitpose.load(model, engine="eager", dataset="ap10k").engine
    assert vitpose.load(model, engine=animals, detector=None).head.dataset == "ap10k"
    assert vitpose.load(model, engine=animals, dataset="apt36k", detector=None).head.codec == "msra"

    class Nameless:
        name, input_size, heatmap_size, num_keypoints = "x", model.spec.input_size, model.spec.heatmap_size, 17

    with pytest.raises(UsageError, match="3 heads of 'small-plus' have as many"):
        vitpose.load(model, engine=Nameless(), detector=None)


def test_half_precision_models_can_be_loaded() -> None:
    model = create_model(PLUS, seed=0).bfloat16()
    assert len(vitpose.load(model, engine="eager", detector=None)(IMAGE, boxes=[[5, 5, 30, 35]]).model.sha256) == 64


def test_boxes_of_another_picture_are_refused() -> None:
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", detector=None)
    for boxes in ([[500, 5, 530, 35]], [[-30, 5, 0, 35]]):
        with pytest.raises(InputError, match="outside the picture, which is 60x40"):
            pose(IMAGE, boxes=boxes)


def test_memory_is_bounded_by_pixels_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = estimator.PoseEstimator.estimate

    def counted(self: estimator.PoseEstimator, images: list[np.ndarray], boxes: object = None) -> object:
        seen.append(len(images))
        return real(self, images, boxes)  # type: ignore[arg-type]

    monkeypatch.setattr(estimator.PoseEstimator, "estimate", counted)
    monkeypatch.setattr(estimator, "PIXELS_IN_FLIGHT", 3 * IMAGE.shape[0] * IMAGE.shape[1])
    pose = vitpose.load(create_model(PLUS, seed=0), engine="eager", detector="whole")
    assert len(pose([IMAGE] * 7)) == 7
    assert seen == [3, 3, 1]


@pytest.mark.parametrize(("engine", "package"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_an_engine_that_is_not_installed_is_named_with_the_remedy(
    engine: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    for module in (package, "onnxscript"):
        monkeypatch.setitem(sys.modules, module, None)
    pose = vitpose.load(create_model(PLUS, seed=0), engine=engine, detector=None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vitpose\["):
        pose(IMAGE, boxes=[[5, 5, 30, 35]])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_a_device_that_is_not_here_is_named() -> None:
    with pytest.raises(UsageError, match="'cuda:3' is not here"):
        vitpose.load(create_model(PLUS, seed=0), engine="eager", device="cuda:3", detector=None)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_exported_file_of_a_newer_version_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from vitpose.core.skeleton import load_skeleton
    from vitpose.engines import description
    from vitpose.engines.graph import describe, single, write_onnx

    model = single(create_model(PLUS, seed=0), "coco")
    path = tmp_path / "newer.onnx"
    with monkeypatch.context() as later:
        later.setattr(description, "VERSION", description.VERSION + 1)
        write_onnx(model, path, describe(model, load_skeleton("coco17")))
    with pytest.raises(
        WeightsError, match=r"newer\.onnx has schema .* version 2, this vitpose reads .* upgrade vitpose"
    ):
        vitpose.load(path, detector=None)
