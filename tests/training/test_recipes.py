"""Every recipe: equal to the papers' table, built at its full size, and stepped on real people."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitpose.core.skeleton import load_skeleton
from vitpose.models.pose import VitPose, create_model
from vitpose.models.variants import BACKBONES, PLUS_HEADS
from vitpose.training.config import RunConfig
from vitpose.training.recipe import load_config, recipe_purpose, recipe_text, recipes
from vitpose.training.run import train
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.load import load_model

SMALL = (
    "model.backbone.width=32",
    "model.backbone.depth=2",
    "model.backbone.heads=2",
    "model.input_size=[64,48]",
    "model.start=",
    "loop.batch_size=4",
    "loop.precision=fp32",
    "data.workers=0",
    "schedule.epochs=1",
    "schedule.warmup_steps=0",
    "objective.masked.decoder_width=32",
    "objective.masked.decoder_depth=1",
    "objective.masked.decoder_heads=2",
)

REAL = {
    "coco": ("coco/test_coco.json", "coco"),
    "wholebody": ("coco/test_coco_wholebody.json", "coco"),
    "aic": ("aic/test_aic.json", "aic"),
    "mpii": ("mpii/test_mpii.json", "mpii"),
    "crowdpose": ("crowdpose/test_crowdpose.json", "crowdpose"),
    "ap10k": ("ap10k/test_ap10k.json", "ap10k"),
    "apt36k": ("ap10k/test_ap10k.json", "ap10k"),
}
"""A few real people for each head; APT-36K has the skeleton and the format of AP-10K."""

SIZES = {"ti": "Ti", "s": "S", "b": "B", "l": "L", "h": "H"}
DECAY = {"S": 0.8, "B": 0.75, "L": 0.8, "H": 0.85}


def size_of(name: str) -> str:
    return next(SIZES[word] for word in name.split("-") if word in SIZES)


def pose_recipes() -> list[str]:
    return [name for name in recipes() if name.split("-")[0] in ("coco", "multi", "plus", "distill")]


def test_there_is_a_recipe_for_every_run_of_the_papers():
    wanted = {f"coco-{size}{head}" for size in "sblh" for head in ("", "-simple")}
    wanted |= {f"multi-{more}{size}" for size in "blh" for more in ("", "crowdpose-")}
    wanted |= {f"plus-{size}" for size in "sblh"}
    wanted |= {"knowledge-token-l", "distill-b-token", "distill-b-output", "distill-b-both"}
    wanted |= {"coco-b-frozen-attention", "coco-b-frozen-ffn", "coco-b-384x288", "coco-b-576x432"}
    kinds = ("full", "window", "shifted", "pooled", "shifted-pooled", "shifted-pooled-16x12")
    wanted |= {f"coco-b-stride8-{kind}" for kind in kinds}
    wanted |= {"mae-b-imagenet", "mae-b-coco-people", "mae-b-coco-aic-people", "mae-b-coco-aic-pictures"}
    assert wanted <= set(recipes())


@pytest.mark.parametrize("name", recipes())
def test_recipe_is_complete_and_says_what_it_is(name):
    header = [line for line in recipe_text(name).splitlines() if line.startswith("#")]
    assert recipe_purpose(name)
    assert [any(line.startswith(f"# {word}") for line in header) for word in ("Run: ", "Time: ", "Reported: ")] == [
        True
    ] * 3
    config = load_config(name)
    assert config.name == name
    written = {line.split(" = ")[0] for line in recipe_text(name).splitlines() if " = " in line and line[0] != "#"}
    resolved = {line.split(" = ")[0] for line in config.to_toml().splitlines() if " = " in line}
    assert resolved <= written, "a recipe leaves nothing to defaults"


@pytest.mark.parametrize("name", pose_recipes())
def test_pose_recipe_has_the_published_numbers(name):
    config = load_config(name)
    size, plus = size_of(name), name.startswith("plus")
    backbone = BACKBONES[size]
    model = config.model.backbone
    assert (model.width, model.depth, model.heads, model.drop_path) == (
        backbone.width,
        backbone.depth,
        backbone.heads,
        backbone.drop_path,
    )
    assert config.optim.layer_decay == (0.8 if plus and size == "H" else DECAY[size])
    assert config.optim.lr == (1e-3 if plus else 5e-4)
    assert config.loop.batch_size == (1024 if plus else 512)
    assert (config.optim.weight_decay, config.optim.betas, config.optim.clip_norm) == (0.1, (0.9, 0.999), 1.0)
    schedule = config.schedule
    assert (schedule.epochs, schedule.milestones, schedule.warmup_steps) == (210, (170, 200), 500)
    assert (schedule.kind, schedule.gamma, schedule.warmup_ratio) == ("step", 0.1, 0.001)
    assert config.model.start == f"mae-{size.lower()}"
    assert config.augment.rotate_deg == 80.0
    assert config.objective.balance == 0.0


@pytest.mark.parametrize("name", [name for name in recipes() if name.startswith("plus")])
def test_plus_recipe_has_the_six_heads_and_a_quarter_for_experts(name):
    spec = load_config(name).model.spec()
    assert spec.heads == PLUS_HEADS
    assert spec.backbone.expert_width == spec.backbone.width // 4


def test_masked_recipes_have_the_published_numbers():
    for name in recipes():
        if name.startswith("mae-b"):
            config = load_config(name)
            assert config.optim.lr == pytest.approx(1.5e-4 * config.loop.batch_size / 256)
            assert (config.optim.betas, config.optim.weight_decay, config.schedule.epochs) == ((0.9, 0.95), 0.05, 1600)
            assert (config.objective.masked.ratio, config.objective.masked.norm_pixels) == (0.75, True)


@pytest.mark.parametrize("name", recipes())
def test_recipe_builds_at_full_size(name):
    config = load_config(name)
    with torch.device("meta"):
        model = VitPose(config.model.spec())
    assert sum(parameter.numel() for parameter in model.parameters()) > 5e6
    assert math.prod(config.model.spec().heatmap_size) > 0


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """A tiny stand-in for the trained teachers, with a knowledge token."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    changes = [*SMALL, "model.backbone.width=48"]
    model = create_model(load_config("coco-l", changes).model.spec(), seed=1)
    save_checkpoint(path, model, {"coco": load_skeleton("coco17")}, {"token": [0.1] * 48})
    return path


def on_real_people(name: str, folder: Path, teacher: Path) -> RunConfig:
    """Return a recipe shrunk to a tiny model and pointed at a few real people of its sets."""
    changes = [*SMALL, f"data.root={folder}"]
    original = load_config(name)
    for role, sets in (("train", original.data.train), ("validation", original.data.validation)):
        for place, one in enumerate(sets):
            annotations, images = REAL["coco" if one.dataset == "lspet" else one.dataset]
            changes += [f"data.{role}.{place}.annotations={annotations}", f"data.{role}.{place}.images={images}"]
            changes += [f"data.{role}.{place}.{key}=0" for key in ("first", "skip")]
            changes += [f"data.{role}.{place}.boxes="]
            if one.dataset == "lspet":
                changes += [f"data.{role}.{place}.map_to_head=true"]
    if original.model.backbone.experts:
        changes += ["model.backbone.expert_width=8"]
    if original.model.backbone.attention != "full":
        changes += ["model.backbone.window=[3, 3]"]
    if original.objective.distill.teacher:
        changes += [f"objective.distill.teacher={teacher}"]
    if original.objective.distill.token:
        changes += [f"objective.distill.token={teacher}"]
    return load_config(name, changes)


@pytest.mark.parametrize("name", recipes())
def test_recipe_steps_on_real_people(name, shared, tmp_path, teacher):
    config = on_real_people(name, shared / "data" / "formats", teacher)
    outcome = train(config, tmp_path / "run", cpu=True)
    assert outcome.progress.step >= 1
    assert outcome.progress.best_score is not None
    loaded = load_model(tmp_path / "run" / "last.safetensors")
    assert loaded.model.spec == config.model.spec()
    assert set(loaded.skeletons) == {head.dataset for head in config.model.heads}
    if config.objective.kind != "knowledge-token":
        fresh = create_model(config.model.spec(), seed=config.seed).state_dict()
        moved = [key for key, value in loaded.model.state_dict().items() if not torch.equal(value, fresh[key])]
        assert any(key.startswith("backbone.blocks.0.") for key in moved)
        frozen = ("norm1", "qkv", "proj.") if config.optim.freeze_attention else ()
        frozen += ("norm2", "ffn", "pos_embed", "patch_embed") if config.optim.freeze_ffn else ()
        assert not [key for key in moved if key.startswith("backbone.") and any(part in key for part in frozen)]


def test_a_set_with_another_skeleton_is_refused_unless_it_is_to_be_matched(shared, tmp_path, teacher):
    from vitpose.core.errors import UsageError

    config = on_real_people("lspet-ti-128x96", shared / "data" / "formats", teacher)
    first = replace(config.data.train[0], map_to_head=False)
    with pytest.raises(UsageError, match="map_to_head"):
        train(replace(config, data=replace(config.data, train=(first,))), tmp_path, cpu=True)
