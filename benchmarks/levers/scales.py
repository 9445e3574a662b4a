"""How large the lever study is: on a GPU, on one CPU core, or just large enough to run in a test."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes of one study. Settings are changes to a recipe, as ``vitpose train --set`` takes them.

    Attributes:
        note: what a reader must know about results at this size.
        people: training people, the first so many of the set.
        judged: held-out people, the first so many after the first 9,500.
        pose: settings of every pose run.
        masked: settings of masked pre-training, on top of ``pose``.
        pretrainings: how many different pre-trainings there are; seed ``s`` starts from number ``s % pretrainings``.
        others: people of COCO in the runs that learn from them, too.
        others_passes: settings of such runs that see as many people as the others.
        trust: smallest score of a keypoint that the teacher labels.
        half_the_blocks: setting of the number of blocks.
        rates: half and twice the learning rate of AdamW in ``pose``.
        teacher: settings of the larger model that is learned from.
        token: settings of the run that learns a knowledge token.
        stride8: settings of the runs with features at an eighth of the crop.
        window: window height and width in tokens there.
        resident: keep pictures on the device.
        cost_batch: people in the step whose memory and speed are measured.
    """

    note: str
    people: int
    judged: int
    pose: tuple[str, ...]
    masked: tuple[str, ...]
    pretrainings: int
    teacher: tuple[str, ...]
    token: tuple[str, ...]
    stride8: tuple[str, ...]
    window: tuple[int, int]
    others: int
    others_passes: tuple[str, ...]
    trust: float
    rates: tuple[float, float]
    half_the_blocks: tuple[str, ...]
    resident: bool = False
    cost_batch: int = 128


_MILD = (
    "augment.scale=0.25",
    "augment.rotate_deg=40.0",
    "augment.half_body=0.0",
    "augment.shift_probability=0.0",
)
"""Short runs see every person a few times only: little variation is better for all arms alike."""

CPU = Scale(
    note=(
        "Small scale: a backbone of {width} channels and {depth} blocks, {people} people, {epochs} passes. What helps"
        " a model of hundreds of millions of weights in weeks of training need not show here, nor the other way round."
    ),
    people=9500,
    judged=500,
    pose=(
        *_MILD,
        "model.input_size=[128,96]",
        "model.backbone.width=96",
        "model.backbone.depth=4",
        "model.backbone.heads=3",
        "model.backbone.drop_path=0.0",
        "loop.batch_size=32",
        "loop.precision=bf16",
        "schedule.epochs=6",
        "schedule.warmup_steps=50",
        "optim.lr=2e-3",
        "optim.ema=0.99",
        "data.workers=0",
    ),
    masked=(
        "schedule.epochs=8",
        "loop.batch_size=64",
        "objective.masked.decoder_width=64",
        "objective.masked.decoder_depth=1",
        "objective.masked.decoder_heads=2",
    ),
    pretrainings=1,
    teacher=(
        "model.backbone.width=128",
        "model.backbone.depth=6",
        "model.backbone.heads=4",
        "schedule.epochs=9",
    ),
    token=("schedule.epochs=1", "optim.lr=5e-3"),
    stride8=(
        "model.input_size=[64,48]",
        "model.backbone.width=64",
        "model.backbone.heads=2",
    ),
    window=(4, 3),
    others=4750,
    trust=0.1,
    rates=(1e-3, 4e-3),
    half_the_blocks=("model.backbone.depth=2",),
    others_passes=("schedule.epochs=4",),
)

H200 = Scale(
    note=(
        "Small scale: a backbone of {width} channels and {depth} blocks, {people} people, {epochs} passes; the papers"
        " train longer on ten times as many people and more."
    ),
    people=9500,
    judged=500,
    pose=(
        *_MILD,
        "model.input_size=[256,192]",
        "loop.batch_size=128",
        "loop.precision=bf16",
        "schedule.epochs=20",
        "schedule.warmup_steps=100",
        "optim.lr=1e-3",
        "optim.ema=0.995",
        "data.workers=2",
    ),
    masked=(
        "schedule.epochs=40",
        "loop.batch_size=256",
        "objective.masked.decoder_width=128",
        "objective.masked.decoder_depth=2",
        "objective.masked.decoder_heads=4",
    ),
    pretrainings=3,
    teacher=(
        "model.backbone.width=384",
        "model.backbone.heads=12",
        "schedule.epochs=40",
        "optim.lr=5e-4",
    ),
    token=("schedule.epochs=3", "optim.lr=5e-3"),
    stride8=("schedule.epochs=10",),
    window=(8, 8),
    others=5700,
    trust=0.3,
    rates=(5e-4, 2e-3),
    half_the_blocks=("model.backbone.depth=6",),
    others_passes=("schedule.epochs=12",),
    resident=True,
)

TOY = Scale(
    note="Toy scale: shows that the study runs, and nothing about the levers.",
    people=16,
    judged=6,
    pose=(
        *_MILD,
        "model.input_size=[64,48]",
        "model.backbone.width=32",
        "model.backbone.depth=2",
        "model.backbone.heads=2",
        "loop.batch_size=8",
        "loop.precision=fp32",
        "schedule.epochs=1",
        "schedule.warmup_steps=1",
        "data.workers=0",
    ),
    masked=(
        "objective.masked.decoder_width=32",
        "objective.masked.decoder_depth=1",
        "objective.masked.decoder_heads=2",
    ),
    pretrainings=1,
    teacher=("model.backbone.width=48", "model.backbone.heads=3"),
    token=(),
    stride8=(),
    window=(4, 3),
    others=8,
    others_passes=(),
    trust=-1.0,
    rates=(5e-4, 2e-3),
    half_the_blocks=("model.backbone.depth=1",),
    cost_batch=4,
)

SCALES = {"cpu": CPU, "h200": H200, "toy": TOY}
