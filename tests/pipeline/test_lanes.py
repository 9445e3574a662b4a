"""The way over a device finds what the way through memory finds; the device here is a CPU, the code is the GPU's."""

import logging
import threading

import cv2
import numpy as np
import pytest
import torch
from on_the_spot import OnTheSpot
from torch import Tensor

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.base import Engine, FakeEngine, OffersDevice
from vitpose.engines.compiled import CompiledEngine
from vitpose.engines.eager import EagerEngine
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

HEADS = {
    "udp": HeadSpec(dataset="udp", skeleton="coco17", keypoints=17, deconv_width=16),
    "msra": HeadSpec(dataset="msra", skeleton="aic14", keypoints=14, codec="msra", expert=1, kind="simple"),
    "square": HeadSpec(dataset="square", skeleton="mpii16", keypoints=16, square_box=True, kind="simple"),
}
SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=2, heads=2, experts=2, expert_width=8),
    heads=tuple(HEADS.values()),
    input_size=Size(128, 96),
)
ROUND_THE_RIM = [[20, 30, 90, 160], [-40, -50, 60, 80], [150, 100, 260, 240], [180, -20, 400, 90], [2, 2, 6, 9]]


@pytest.fixture(scope="module")
def model() -> VitPose:
    made = create_model(SPEC, seed=0).eval()
    with torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.mul_(30 if parameter.ndim > 1 else 1)
    return made


def pictures() -> tuple[list[np.ndarray], list[list[list[float]]]]:
    rng = np.random.default_rng(0)
    images = []
    for height, width in ((200, 240), (300, 420), (50, 60)):
        coarse = rng.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        images.append(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    return images, [ROUND_THE_RIM, [], [[5, 5, 40, 45]]]


def estimator(engine: Engine, name: str, **options: object) -> PoseEstimator:
    head = Head(HEADS[name], load_skeleton(HEADS[name].skeleton), engine)
    return PoseEstimator({name: head}, options=Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize(
    "options", [{}, {"flip_test": True}, {"scales": (0.8, 1.25), "flip_test": True, "batch_size": 2}, {"refine": True}]
)
def test_both_ways_lead_to_the_same_poses(model: VitPose, name: str, options: dict[str, object]) -> None:
    images, boxes = pictures()
    through_memory = estimator(EagerEngine(model, dataset=name, device="cpu"), name, **options)
    on_the_spot = estimator(OnTheSpot(model, name), name, **options)
    apart = []
    for expected, found in zip(through_memory(images, boxes=boxes), on_the_spot(images, boxes=boxes), strict=True):
        assert found.xy.shape == expected.xy.shape
        # In crop pixels, whatever the size of the person: a region is about 1.25 boxes.
        size = (expected.boxes[:, 2:] - expected.boxes[:, :2]).max(axis=1)[:, None] * 1.25 / 128
        apart.append((np.linalg.norm(found.xy - expected.xy, axis=-1) / size).ravel())
        np.testing.assert_allclose(found.scores, expected.scores, atol=2e-3 * np.abs(expected.scores).max(initial=1))
        assert found.model.engine == "on-the-spot"
    # The msra step goes to the higher neighbour, and turns round where noise has two that are equal.
    assert np.quantile(np.concatenate(apart), 0.97 if name == "msra" else 0.99) <= 0.1
    assert np.quantile(np.concatenate(apart), 0.5) <= 0.01


def test_batches_are_those_of_the_other_way(model: VitPose) -> None:
    images, boxes = pictures()
    engine = OnTheSpot(model, "udp")
    estimator(engine, "udp", batch_size=4)([images[0], images[2]], boxes=[boxes[0], boxes[2]])
    assert engine.batches == [4, 2]


class Cramped:
    """Has memory for so many crops at a time and no more."""

    def __init__(self, run: object, room: int) -> None:
        self.run, self.room = run, room

    def __call__(self, crops: Tensor) -> Tensor:
        if len(crops) > self.room:
            raise torch.OutOfMemoryError("pretended")
        return self.run(crops)  # type: ignore[operator, no-any-return]


def test_too_little_memory_halves_the_batch_says_so_and_goes_on(
    model: VitPose, caplog: pytest.LogCaptureFixture
) -> None:
    images, boxes = pictures()
    everybody = [boxes[0] * 3, boxes[1], boxes[2]]
    expected = estimator(OnTheSpot(model, "udp"), "udp")(images, boxes=everybody)
    engine = OnTheSpot(model, "udp")
    engine.run = Cramped(engine.deploy, 3)
    pose = estimator(engine, "udp", batch_size=16)
    with caplog.at_level(logging.WARNING):
        found = pose(images, boxes=everybody)
        again = pose(images, boxes=everybody)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "not enough memory for 16 people at a time"
    ]
    assert engine.batches == [16, 8, 4, *[2] * 8, *[2] * 8]
    for one, two, three in zip(expected, found, again, strict=True):
        np.testing.assert_allclose(two.xy, one.xy, atol=1e-3)
        np.testing.assert_array_equal(two.xy, three.xy)


def test_an_engine_in_memory_is_given_smaller_batches_too() -> None:
    class CrampedFake(FakeEngine):
        def __call__(self, crops: np.ndarray) -> np.ndarray:
            if len(crops) > 1:
                raise torch.OutOfMemoryError("pretended")
            return super().__call__(crops)

    spec = HeadSpec(dataset="x", skeleton="aic14", keypoints=14)
    engine = CrampedFake([(0.5, 0.5)] * 14)
    pose = PoseEstimator({"x": Head(spec, load_skeleton("aic14"), engine)})
    image = pictures()[0][0]
    assert len(pose(image, boxes=ROUND_THE_RIM)) == len(ROUND_THE_RIM)


def test_no_memory_for_one_person_is_an_error_that_says_what_to_do(model: VitPose) -> None:
    engine = OnTheSpot(model, "udp")
    engine.run = Cramped(engine.deploy, 0)
    with pytest.raises(VitPoseError, match="not enough memory on the device for one person; use a smaller model"):
        estimator(engine, "udp")(pictures()[0][0], boxes=ROUND_THE_RIM)


@pytest.mark.parametrize("wrong", [np.zeros((1, 14, 64, 48), np.float64), np.zeros((1, 13, 64, 48), np.float32)])
def test_an_engine_that_breaks_its_promise_is_named(wrong: np.ndarray) -> None:
    class Liar(FakeEngine):
        def __call__(self, crops: np.ndarray) -> np.ndarray:
            return wrong

    head = Head(HeadSpec(dataset="x", skeleton="aic14", keypoints=14), load_skeleton("aic14"), Liar([(0.5, 0.5)] * 14))
    with pytest.raises(UsageError, match=r"engine 'fake' gave heatmaps .* must be \(1, 14, 64, 48\) of float32"):
        PoseEstimator({"x": head})(pictures()[0][0], boxes=ROUND_THE_RIM[:1])


@pytest.mark.parametrize("on_the_spot", [False, True])
def test_threads_get_what_they_would_get_alone(model: VitPose, on_the_spot: bool) -> None:
    engine = OnTheSpot(model, "udp") if on_the_spot else EagerEngine(model, dataset="udp", device="cpu")
    pose = estimator(engine, "udp", flip_test=True, batch_size=2)
    image = pictures()[0][0]
    people = [[[10.0 * n, 5, 60 + 10 * n, 150], [5, 5, 50 + n, 60]] for n in range(6)]
    expected = [pose(image, boxes=boxes) for boxes in people]
    found: dict[int, list[np.ndarray]] = {n: [] for n in range(6)}

    def work(n: int) -> None:
        found[n] = [pose(image, boxes=people[n]).xy for _ in range(3)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(6):
        assert len(found[n]) == 3
        for xy in found[n]:
            np.testing.assert_array_equal(xy, expected[n].xy)


def test_who_offers_a_device_is_asked_and_others_are_fed_from_memory(model: VitPose) -> None:
    for engine in (EagerEngine(model, device="cpu"), CompiledEngine(model, device="cpu", backend="eager")):
        assert isinstance(engine, OffersDevice)
        assert engine.resident() is None, "a CPU has nothing to gain"
        engine.close()
        with pytest.raises(UsageError, match="closed"):
            engine.resident()
    assert not isinstance(FakeEngine([(0.5, 0.5)]), OffersDevice)


def test_a_model_that_moves_is_found_where_it_is(model: VitPose) -> None:
    """The engine asks the weights each time; here they move to another memory of the same machine."""
    engine = OnTheSpot(model, "udp")
    pose = estimator(engine, "udp")
    image = pictures()[0][0]
    expected = pose(image, boxes=ROUND_THE_RIM)
    model.to(torch.float64).to(torch.float32)
    np.testing.assert_array_equal(pose(image, boxes=ROUND_THE_RIM).xy, expected.xy)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("flip_test", [False, True])
def test_the_gpu_finds_what_the_cpu_finds(model: VitPose, name: str, flip_test: bool) -> None:
    images, boxes = pictures()
    expected = estimator(EagerEngine(model, dataset=name, device="cpu"), name, flip_test=flip_test)
    for engine in (
        EagerEngine(model, dataset=name, device="cuda", dtype="fp32"),
        CompiledEngine(model, dataset=name, device="cuda", dtype="fp32", batch_sizes=(1, 4)),
    ):
        pose = estimator(engine, name, flip_test=flip_test)
        for _ in range(2):  # the second time from a recording
            for one, two in zip(expected(images, boxes=boxes), pose(images, boxes=boxes), strict=True):
                apart = np.abs(one.scores - two.scores).max(initial=0)
                assert apart <= 0.01 * np.abs(one.scores).max(initial=1)
        assert pose._recordings._known, "few people are played back"


@pytest.mark.gpu
@needs_gpu
def test_recordings_follow_a_model_that_moves() -> None:
    made = create_model(SPEC, seed=0).eval().to("cuda")
    engine = EagerEngine(made, dataset="udp", device="cuda", dtype="fp32")
    pose = estimator(engine, "udp")
    image, boxes = pictures()[0][0], ROUND_THE_RIM[:1]
    expected = pose(image, boxes=boxes).scores
    made.to("cpu")
    np.testing.assert_allclose(pose(image, boxes=boxes).scores, expected, atol=1e-3)
    rubbish = [torch.full((1 << 20,), 1e9, device="cuda") for _ in range(20)]
    made.to("cuda")
    np.testing.assert_allclose(pose(image, boxes=boxes).scores, expected, atol=1e-3)
    assert len(rubbish) == 20


@pytest.mark.gpu
@needs_gpu
def test_threads_share_recordings(model: VitPose) -> None:
    pose = estimator(EagerEngine(model, dataset="udp", device="cuda", dtype="fp32"), "udp")
    image = pictures()[0][0]
    expected = [pose(image, boxes=[box]).xy for box in ROUND_THE_RIM]
    found: dict[int, np.ndarray] = {}

    def work(n: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                found[n] = pose(image, boxes=[ROUND_THE_RIM[n]]).xy

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(ROUND_THE_RIM))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, xy in enumerate(expected):
        np.testing.assert_array_equal(found[n], xy)
