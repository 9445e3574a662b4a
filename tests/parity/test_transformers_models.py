"""Our models against `transformers`: their folders load here, ours load there, heatmaps are equal."""

from pathlib import Path

import pytest
import torch
from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
from transformers.utils import logging

from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.models.moe import fold_expert
from vitpose.models.pose import VitPose
from vitpose.models.variants import PLUS_HEADS
from vitpose.weights.huggingface import save_huggingface
from vitpose.weights.load import load_model

TINY = {"image_size": [64, 48], "hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
NAMES = [name.replace("left_", "L_").replace("right_", "R_").title() for name in load_skeleton("coco17").keypoints]

slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.disable_progress_bar()


def theirs(size: dict, *, simple: bool, experts: int) -> VitPoseForPoseEstimation:
    """A random model of theirs in which every number counts; its heatmaps lie between -1 and 1."""
    backbone = VitPoseBackboneConfig(
        **size, num_experts=experts, part_features=size["hidden_size"] // 4, out_indices=[size["num_hidden_layers"]]
    )
    config = VitPoseConfig(
        backbone_config=backbone, use_simple_decoder=simple, id2label=dict(enumerate(NAMES)), num_labels=17
    )
    with torch.device("meta"):
        model = VitPoseForPoseEstimation(config)
    model = model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                value.fill_(3)
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim < 2:
                scale = "norm" in name and name.endswith("weight")
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3 + (1 if scale else 0))
            else:
                fan_in = 4 * len(value) if "deconv" in name else value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * 1.5 * fan_in**-0.5)
        positions = model.backbone.embeddings.position_embeddings
        positions.copy_(torch.randn(positions.shape, generator=generator) * 0.5)
        model.head.conv.bias *= 0.1
        largest = run(model, 0).abs().max()
        model.head.conv.weight /= largest
        model.head.conv.bias /= largest
    return model


def crops(model: VitPoseForPoseEstimation, batch: int = 2) -> torch.Tensor:
    size = model.config.backbone_config.image_size
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(7))


def run(model: VitPoseForPoseEstimation, expert: int) -> torch.Tensor:
    images = crops(model)
    with torch.no_grad():
        return model(images, dataset_index=torch.full((len(images),), expert)).heatmaps


def ours(model: VitPose, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)


def check_both_ways(size: dict, folder: Path, *, simple: bool, experts: int) -> None:
    reference = theirs(size, simple=simple, experts=experts)
    expected, images = run(reference, 0), crops(reference)
    assert 0.99 < float(expected.abs().max()) < 1.01
    assert float(expected.std()) > 0.05
    reference.save_pretrained(folder / "theirs")
    loaded = load_model(folder / "theirs")
    assert list(loaded.skeletons) == ["coco"]
    assert loaded.assumptions == loaded.ignored == ()
    torch.testing.assert_close(ours(loaded.model, images), expected, atol=1e-5, rtol=0)
    save_huggingface(folder / "ours", loaded.model, loaded.skeletons["coco"])
    back, info = VitPoseForPoseEstimation.from_pretrained(folder / "ours", output_loading_info=True)
    assert not any(info.values()), info
    torch.testing.assert_close(run(back.eval(), 0), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("experts", [1, 6])
@pytest.mark.parametrize("simple", [True, False], ids=["simple", "classic"])
def test_small_models_agree_both_ways(tmp_path, simple, experts):
    check_both_ways(TINY, tmp_path, simple=simple, experts=experts)


@pytest.mark.parametrize(
    ("size", "simple", "experts"),
    [
        pytest.param(SMALL, True, 1, id="S-simple"),
        pytest.param(SMALL, False, 1, id="S-classic"),
        pytest.param(SMALL, False, 6, id="S-plus"),
        pytest.param(BASE, True, 1, id="B-simple", marks=slow),
        pytest.param(BASE, False, 1, id="B-classic", marks=slow),
        pytest.param(BASE, False, 6, id="B-plus", marks=slow),
    ],
)
def test_published_sizes_agree_both_ways(tmp_path, size, simple, experts):
    check_both_ways(size, tmp_path, simple=simple, experts=experts)


@pytest.mark.parametrize("expert", range(6))
def test_every_expert_and_its_folded_model_agree(tmp_path, expert):
    """Their head is fed through any expert by index; here a head names its expert."""
    reference = theirs(TINY, simple=False, experts=6)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs").model
    chosen = VitPose(_with_expert(loaded, expert)).eval()
    chosen.load_state_dict(loaded.state_dict())
    expected, images = run(reference, expert), crops(reference)
    torch.testing.assert_close(ours(chosen, images), expected, atol=1e-5, rtol=0)
    folded = fold_expert(chosen)
    assert folded.spec.backbone.experts == 0
    torch.testing.assert_close(ours(folded, images), expected, atol=1e-5, rtol=0)
    if expert:
        assert (expected - run(reference, 0)).abs().max() > 0.01
    notes = save_huggingface(tmp_path / "ours", chosen, load_skeleton("coco17"))
    assert f"transformers needs dataset_index={expert} at every call of this model" in notes
    back = VitPoseForPoseEstimation.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(run(back, expert), expected, atol=1e-5, rtol=0)


def _with_expert(model: VitPose, expert: int):
    from dataclasses import replace

    return replace(model.spec, heads=(replace(model.spec.heads[0], expert=expert),))


def test_a_folded_head_of_ours_loads_there_without_an_index(tmp_path):
    reference = theirs(TINY, simple=False, experts=6)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert save_huggingface(tmp_path / "ours", fold_expert(loaded.model), loaded.skeletons["coco"]) == ()
    back, info = VitPoseForPoseEstimation.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    with torch.no_grad():
        found = back.eval()(crops(reference)).heatmaps
    torch.testing.assert_close(found, run(reference, 0), atol=1e-5, rtol=0)


def test_their_processor_reads_ours(tmp_path):
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    reference = theirs(TINY, simple=True, experts=1)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    save_huggingface(tmp_path / "ours", loaded.model, loaded.skeletons["coco"])
    processor = VitPoseImageProcessorPil.from_pretrained(tmp_path / "ours")
    assert (processor.size["height"], processor.size["width"]) == loaded.model.spec.input_size == Size(64, 48)
    assert tuple(processor.image_mean) == (0.485, 0.456, 0.406)
    assert tuple(processor.image_std) == (0.229, 0.224, 0.225)
    assert processor.rescale_factor == pytest.approx(1 / 255)
    config = VitPoseForPoseEstimation.from_pretrained(tmp_path / "ours").config
    assert list(config.id2label.values()) == list(load_skeleton("coco17").keypoints)


def test_heads_of_other_datasets_say_how_they_differ(tmp_path):
    reference = theirs(TINY, simple=False, experts=6)
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs", skeleton="ap10k17", dataset="ap10k")
    assert loaded.model.spec.heads[0].codec == PLUS_HEADS[3].codec == "msra"
    notes = save_huggingface(tmp_path / "ours", loaded.model, loaded.skeletons["ap10k"])
    assert any("always unbiased (UDP)" in note for note in notes)
