import copy
import logging
import threading

import numpy as np
import pytest
import torch

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.core.geometry import Size
from vitpose.engines.deploy import DeployModel
from vitpose.engines.eager import EagerEngine
from vitpose.models.pixels import MEAN, STD
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import BackboneSpec, HeadSpec, ModelSpec

SPEC = ModelSpec(
    name="tiny",
    backbone=BackboneSpec(width=32, depth=2, heads=2, experts=2, expert_width=8),
    heads=(
        HeadSpec(dataset="coco", skeleton="coco17", keypoints=17),
        HeadSpec(dataset="aic", skeleton="aic14", keypoints=14, codec="msra", expert=1, kind="simple"),
    ),
    input_size=Size(64, 48),
)


@pytest.fixture(scope="module")
def model() -> VitPose:
    model = create_model(SPEC, seed=0).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            # Fresh heads answer almost nothing; differences would drown below any tolerance.
            parameter.mul_(30 if parameter.ndim > 1 else 1)
    return model


def crops(people: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (people, 64, 48, 3), dtype=np.uint8)


def test_heatmaps_are_the_models_for_normalised_crops(model):
    engine = EagerEngine(model, device="cpu")
    pixels = crops(3)
    images = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))).numpy()
    heatmaps = engine(pixels)
    assert heatmaps.dtype == np.float32
    assert heatmaps.shape == (3, 17, 16, 12) == (3, engine.num_keypoints, *engine.heatmap_size)
    assert np.abs(expected).max() > 0.05
    assert np.abs(heatmaps - expected).max() < 1e-5


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, None])
def test_result_does_not_depend_on_the_split(model, batch_size):
    pixels = crops(7)
    whole = EagerEngine(model, device="cpu", batch_size=7)(pixels)
    split = EagerEngine(model, device="cpu", batch_size=batch_size)(pixels)
    assert np.abs(split - whole).max() < 1e-5
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_nobody_gives_nothing(model):
    engine = EagerEngine(model, device="cpu")
    assert engine(crops(0)).shape == (0, 17, 16, 12)
    assert engine(torch.from_numpy(crops(0))).shape == (0, 17, 16, 12)


def test_tensor_in_tensor_out(model):
    engine = EagerEngine(model, device="cpu")
    heatmaps = engine(torch.from_numpy(crops(2)))
    assert isinstance(heatmaps, torch.Tensor)
    assert heatmaps.dtype == torch.float32
    assert np.array_equal(heatmaps.numpy(), engine(crops(2)))


def test_mirrored_and_read_only_crops_are_taken(model):
    engine = EagerEngine(model, device="cpu")
    pixels = crops(2)
    pixels.flags.writeable = False
    assert np.array_equal(engine(pixels[:, :, ::-1]), engine(np.ascontiguousarray(pixels[:, :, ::-1])))


def test_results_can_be_written_to(model):
    heatmaps = EagerEngine(model, device="cpu")(crops(1))
    heatmaps *= 2


def test_other_head_shares_the_weights(model):
    engine = EagerEngine(model, device="cpu")
    other = engine.for_dataset("aic")
    assert (other.num_keypoints, other.dataset, other.name) == (14, "aic", engine.name)
    assert np.array_equal(other(crops(2)), EagerEngine(model, dataset="aic", device="cpu")(crops(2)))
    ours = [parameter.data_ptr() for parameter in engine._deploy.parameters()]
    assert ours == [parameter.data_ptr() for parameter in other._deploy.parameters()]
    assert ours == [parameter.data_ptr() for parameter in model.parameters()]
    engine.close()
    engine.close()
    assert other(crops(1)).shape == (1, 14, 16, 12)
    with pytest.raises(UsageError, match="closed"):
        engine(crops(1))
    with pytest.raises(UsageError, match="closed"):
        engine.for_dataset("coco")


def test_the_callers_model_is_left_alone():
    model = create_model(SPEC, seed=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    engine = EagerEngine(model, device="cpu", dtype="bf16")
    first = engine(crops(2))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert np.array_equal(engine(crops(2)), first)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_types_are_close_and_still_float32_outside(model, dtype):
    reference = EagerEngine(model, device="cpu")(crops(3))
    heatmaps = EagerEngine(model, device="cpu", dtype=dtype)(crops(3))
    assert heatmaps.dtype == np.float32
    spread = np.abs(reference).max()
    assert 0 < np.abs(heatmaps - reference).max() < 0.05 * spread


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_maps_are_finer_than_half_types(model, dtype):
    """Bf16 has 256 values between two powers of two; rounded maps would have many equal pixels."""
    heatmaps = EagerEngine(model, device="cpu", dtype=dtype)(crops(2))
    rounded = torch.from_numpy(heatmaps).to(torch.bfloat16 if dtype == "bf16" else torch.float16).float().numpy()
    assert (rounded != heatmaps).mean() > 0.9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_last_layer_keeps_its_weights_and_a_model_that_is_short_already_gets_one(model, dtype):
    name = {torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
    engine = EagerEngine(model, device="cpu", dtype=name)
    for dataset, head in model.heads.items():
        assert torch.equal(engine.model.heads[dataset].out.weight, head.out.weight)
    assert engine.model.backbone.pos_embed.dtype == dtype
    assert EagerEngine(engine.model, device="cpu", dtype=name).model is engine.model
    short = copy.deepcopy(model).to(dtype).eval()
    again = EagerEngine(short, device="cpu", dtype=name)
    assert {tensor.dtype for tensor in short.parameters()} == {dtype}, "the caller's model is left alone"
    reference = EagerEngine(model, device="cpu", dtype=name)(crops(2))
    spread = np.abs(reference).max()
    assert np.abs(again(crops(2)) - reference).max() < 0.05 * spread
    rounded = torch.from_numpy(again(crops(2))).to(dtype).float().numpy()
    assert (rounded != again(crops(2))).mean() > 0.9


def test_auto_means_full_precision_on_the_cpu(model):
    assert EagerEngine(model, device="cpu").name == "eager-cpu-fp32"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "toaster"}, "unknown device 'toaster'"),
        ({"device": "cuda:99"}, "CUDA devices"),
        ({"dtype": "fp23"}, "did you mean 'fp32'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"dataset": "mpii"}, "no head for dataset 'mpii'"),
    ],
)
def test_wrong_settings_are_refused(model, settings, message):
    with pytest.raises(UsageError, match=message):
        EagerEngine(model, **{"device": "cpu", **settings})


def test_wrong_crops_are_refused(model):
    with pytest.raises(UsageError, match="uint8"):
        EagerEngine(model, device="cpu")(np.zeros((1, 64, 48, 3), dtype=np.float32))


def test_threads_get_what_they_would_get_alone(model):
    engine = EagerEngine(model, device="cpu", batch_size=2)
    expected = [engine(crops(5, seed)) for seed in range(4)]
    results: list[list[np.ndarray]] = [[] for _ in range(4)]

    def work(seed: int) -> None:
        results[seed] = [engine(crops(5, seed)) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert len(results[seed]) == 3
        assert all(np.array_equal(result, expected[seed]) for result in results[seed])


def scarce_memory(monkeypatch: pytest.MonkeyPatch, limit: int) -> list[int]:
    """Let the model run out of memory beyond ``limit`` crops; return the sizes that are tried."""
    forward, tried = DeployModel.forward, []

    def limited(self: DeployModel, pixels: torch.Tensor) -> torch.Tensor:
        tried.append(len(pixels))
        if len(pixels) > limit:
            raise torch.OutOfMemoryError("simulated")
        return forward(self, pixels)

    monkeypatch.setattr(DeployModel, "forward", limited)
    return tried


def test_chunks_are_halved_when_memory_runs_out_and_that_is_said_once(model, monkeypatch, caplog):
    expected = EagerEngine(model, device="cpu")(crops(11))
    tried = scarce_memory(monkeypatch, 3)
    engine = EagerEngine(model, device="cpu", batch_size=100)
    with caplog.at_level(logging.WARNING):
        assert np.abs(engine(crops(11)) - expected).max() < 1e-5
        assert tried == [11, 5, 2, 2, 2, 2, 2, 1]
        assert len(caplog.records) == 1
        assert "not enough memory on cpu" in caplog.text
        tried.clear()
        engine(crops(4))
        assert tried == [2, 2]
        assert len(caplog.records) == 1


def test_a_crop_that_does_not_fit_alone_is_an_error(model, monkeypatch):
    scarce_memory(monkeypatch, 0)
    with pytest.raises(VitPoseError, match="not enough memory for one crop"):
        EagerEngine(model, device="cpu")(crops(2))


def test_a_model_that_is_cast_or_moved_meanwhile_still_answers():
    shared = create_model(SPEC, seed=0).eval()
    engine = EagerEngine(shared, device="cpu")
    expected = engine(crops(2))
    shared.half()
    assert np.abs(engine(crops(2)) - expected).max() < 0.05 * np.abs(expected).max()
    if torch.cuda.is_available():
        shared.to("cuda")
        assert np.abs(engine(crops(2)) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(model):
    reference = EagerEngine(model, device="cpu")(crops(5))
    spread = np.abs(reference).max()
    for dtype, tolerance in (("fp32", 0.002), ("auto", 0.05)):
        engine = EagerEngine(model, dtype=dtype)
        heatmaps = engine(torch.from_numpy(crops(5)))
        assert heatmaps.is_cuda
        assert np.abs(heatmaps.cpu().numpy() - reference).max() < tolerance * spread
        assert np.array_equal(engine(crops(5)), heatmaps.cpu().numpy())
    assert EagerEngine(model).name == "eager-cuda:0-bf16"
