"""What a run is made of, as frozen dataclasses read from one complete TOML file.

A recipe is complete: nothing is inherited, and the resolved form is written beside the results. The names of the tables
are the names of the fields here.
"""

from dataclasses import dataclass
from typing import Literal

from vitpose.core.errors import UsageError, nearest
from vitpose.core.geometry import Convention, Size
from vitpose.core.skeleton import Skeleton, load_skeleton
from vitpose.data.augment import ORIGINAL, Augmentation
from vitpose.data.readers.read import KINDS
from vitpose.models.attention import alternate
from vitpose.models.variants import AttentionKind, BackboneSpec, HeadKind, HeadSpec, MapKind, ModelSpec, StemKind
from vitpose.training.settings import dump_toml, to_plain

ObjectiveKind = Literal["supervised", "masked", "knowledge-token", "distill"]
PICTURES = "pictures"
"""Format of a folder of pictures without labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """The transformer, see ``models.variants.BackboneSpec``.

    Attributes:
        attention: one kind for the whole network. ``shifted`` kinds alternate: even blocks do not shift, odd ones do.
        window: window height and width in tokens; not used by ``full``.
        stem: what makes the tokens, ``patches`` as in the papers, or ``convolutions``, which learn from fewer people.
        stem_depths: residual units of a convolutional stem at strides 4, 8 and 16.
    """

    width: int
    depth: int
    heads: int
    hidden: int = 0
    stride: int = 16
    drop_path: float = 0.0
    experts: int = 0
    expert_width: int = 0
    attention: AttentionKind = "full"
    window: tuple[int, int] = (8, 8)
    stem: StemKind = "patches"
    stem_depths: tuple[int, int, int] = (1, 2, 2)

    def spec(self) -> BackboneSpec:
        """Return the spec the model is built from."""
        return BackboneSpec(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            hidden=self.hidden,
            stride=self.stride,
            stem=self.stem,
            stem_depths=self.stem_depths,
            drop_path=self.drop_path,
            experts=self.experts,
            expert_width=self.expert_width,
            attention=alternate(self.attention, Size(*self.window), self.depth),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """One decoder.

    Attributes:
        dataset: name that training sets and callers choose the head by.
        skeleton: built-in name or path of a TOML file; the number of heatmaps follows from it.
        kind: ``classic`` or ``simple``.
        codec: ``udp`` or ``msra``.
        maps: ``heatmaps``, learned by the squared distance as in the papers, or ``places``, learned by cross-entropy,
            which needs far fewer steps on small data, see ``training.supervised``.
        square_box: train on square regions stretched to the input.
        expert: expert of the backbone that belongs to the head.
        deconv_width: channels of a ``classic`` head's deconvolutions.
    """

    dataset: str
    skeleton: str
    kind: HeadKind = "classic"
    codec: Convention = "udp"
    maps: MapKind = "heatmaps"
    square_box: bool = False
    expert: int = 0
    deconv_width: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The model to train.

    Attributes:
        name: what the checkpoint will be called.
        start: weights to begin with: a catalogue name, a hub id, or a file (a model, or a masked pre-training
            checkpoint, of which the backbone is taken); empty for random weights.
        init: how random weights are drawn when ``start`` is empty: ``random`` as in the papers, or ``structured``,
            which needs far fewer steps on small data, see ``training.initial``.
        input_size: crop height and width in pixels.
        backbone: the transformer.
        heads: at least one.
    """

    name: str
    start: str = ""
    init: Literal["random", "structured"] = "random"
    input_size: tuple[int, int] = (256, 192)
    backbone: BackboneConfig
    heads: tuple[HeadConfig, ...]

    def spec(self) -> ModelSpec:
        """Return the spec the model is built from.

        Raises:
            UsageError: sizes that do not go together, or an unknown skeleton.
        """
        skeletons = self.skeletons()
        heads = tuple(
            HeadSpec(
                **to_plain(head) | {"skeleton": skeletons[head.dataset].name, "keypoints": len(skeletons[head.dataset])}
            )
            for head in self.heads
        )
        return ModelSpec(name=self.name, backbone=self.backbone.spec(), heads=heads, input_size=Size(*self.input_size))

    def skeletons(self) -> dict[str, Skeleton]:
        """Return the skeleton of each head by dataset."""
        return {head.dataset: load_skeleton(head.skeleton) for head in self.heads}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """One labelled set.

    Attributes:
        dataset: which head it trains or tests.
        format: a kind of ``data.readers.read.KINDS``, ``auto`` to tell it from the file, or ``pictures`` for a folder
            without annotations (masked pre-training).
        annotations: file, relative to ``data.root``.
        images: folder, relative to ``data.root``.
        map_to_head: the set has another skeleton than the head; keypoints are matched by name.
        first: use only the first so many people (0: all), after ``skip``.
        skip: leave out the first so many people.
        boxes: for validation: file with detected boxes, relative to ``data.root``; empty for the labelled ones.
        half_body: in place of ``augment.half_body`` for this set; -1 leaves it.
        half_body_minimum: in place of ``augment.half_body_minimum`` for this set; -1 leaves it.
    """

    dataset: str
    format: str = "coco"
    annotations: str = ""
    images: str
    map_to_head: bool = False
    first: int = 0
    skip: int = 0
    boxes: str = ""
    half_body: float = -1.0
    half_body_minimum: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What to train on.

    Attributes:
        root: folder that the sets' paths are relative to; ``--set data.root=/data``.
        train: sets to train on; they are concatenated and shuffled.
        validation: sets that decide which checkpoint is the best; the first is the one that counts.
        holdout: without validation sets: part of the pictures of the training sets that is kept for validation.
        resident: keep all pictures on the training device and warp there; for sets that fit.
        workers: processes that read and warp pictures; 0 does it in the main process.
    """

    root: str = ""
    train: tuple[SetConfig, ...]
    validation: tuple[SetConfig, ...] = ()
    holdout: float = 0.0
    resident: bool = False
    workers: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedConfig:
    """Masked pre-training (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners").

    Attributes:
        ratio: part of the patches that is hidden.
        norm_pixels: predict pixels normalised within each patch.
        decoder_width: channels of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder.
        people: train on crops around the labelled people instead of on random crops of whole pictures.
        smallest_part: smallest part of a picture (or of a person's region) that a random crop shows.
    """

    ratio: float = 0.75
    norm_pixels: bool = True
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    people: bool = False
    smallest_part: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Distillation from a trained teacher (Xu et al. 2022; see ``docs/decisions/005-knowledge-token.md``).

    Attributes:
        teacher: catalogue name, hub id or file of a trained model.
        output: weight of the distance to the teacher's heatmaps; 0 leaves the teacher out.
        token: file with a knowledge token (a finished ``knowledge-token`` run); empty trains without.
        token_share: part of each batch that sees the token.
    """

    teacher: str = ""
    output: float = 0.0
    token: str = ""
    token_share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """What is minimised.

    Attributes:
        kind: ``supervised``; ``masked`` pre-training; ``knowledge-token`` (learn a token for a frozen teacher);
            ``distill`` (supervised, plus teacher heatmaps, plus token).
        balance: how far training sets of different sizes are evened out: 0 weighs every person the same, which is the
            papers' rule and lets large sets drown small ones; 1 gives every set the same weight.
        keypoint_weights: weigh keypoints as the skeleton says.
        masked: options of ``masked``.
        distill: options of ``knowledge-token`` and ``distill``.
    """

    kind: ObjectiveKind = "supervised"
    balance: float = 0.0
    keypoint_weights: bool = False
    masked: MaskedConfig = MaskedConfig()
    distill: DistillConfig = DistillConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimiser and what is frozen.

    Attributes:
        kind: ``adamw`` as in the papers; ``muon`` trains the matrices of the blocks with Muon (orthogonalised momentum,
            Jordan et al. 2024) and the rest with AdamW.
        lr: learning rate of the head at the schedule's top.
        muon_lr: learning rate of Muon's matrices at the schedule's top.
        betas: decay of the two moments.
        eps: added to the denominator.
        weight_decay: of matrices; vectors, biases and position embeddings have none.
        layer_decay: factor on the learning rate from each block to the one below; 1 for none.
        clip_norm: largest L2 norm of the gradient; 0 for no limit.
        ema: decay of the averaged weights that are evaluated and kept; 0 for none.
        freeze_attention: keep attention and the norm before it as they are.
        freeze_ffn: keep embeddings, feed-forward layers and the norm before them as they are.
        freeze_blocks: keep the embeddings and the first so many blocks as they are.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = 5e-4
    muon_lr: float = 0.02
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.1
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    ema: float = 0.0
    freeze_attention: bool = False
    freeze_ffn: bool = False
    freeze_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """How long, and how the learning rate moves.

    Attributes:
        kind: ``step`` (times ``gamma`` at each milestone), ``cosine`` (to ``floor``) or ``constant``.
        epochs: passes over the training sets.
        warmup_steps: steps of linear warm-up.
        warmup_ratio: factor on the learning rate at the first of them.
        milestones: epochs after which the rate falls.
        gamma: factor at a milestone.
        floor: factor that ``cosine`` ends at.
        patience: stop after so many evaluations without a better score; 0 never stops early.
    """

    kind: Literal["step", "cosine", "constant"] = "step"
    epochs: int = 210
    warmup_steps: int = 500
    warmup_ratio: float = 0.001
    milestones: tuple[int, ...] = (170, 200)
    gamma: float = 0.1
    floor: float = 0.0
    patience: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How the work is done; none of this changes what is learned, up to rounding.

    But batch norms, of classic heads and stems of convolutions, see ``micro_batch`` people of one process at once.

    Attributes:
        batch_size: people an optimiser step, over all processes.
        micro_batch: people that go through the model at once in one process; 0 takes as many as there are.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        checkpointing: compute activations again in the backward pass to save memory.
        compile: compile the objective with torch.
        evaluate_every: epochs between evaluations.
        flip_test: average with the mirrored crop when evaluating.
        save_every: steps between saves of the whole state; it is also saved after every evaluation.
        log_every: steps between lines in ``metrics.jsonl``.
    """

    batch_size: int = 512
    micro_batch: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False
    compile: bool = False
    evaluate_every: int = 10
    flip_test: bool = True
    save_every: int = 500
    log_every: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole run.

    Attributes:
        name: also the name of the run's folder unless another is given.
        seed: all randomness follows from it and the step number.
    """

    name: str
    seed: int = 0
    model: ModelConfig
    data: DataConfig
    augment: Augmentation = ORIGINAL
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loop: LoopConfig = LoopConfig()

    def __post_init__(self) -> None:
        """Refuse a run that cannot work.

        Raises:
            UsageError: values out of range, or a training set without a head.
        """
        for problem in _problems(self):
            raise UsageError(problem)

    def to_toml(self) -> str:
        """Return the whole configuration, defaults included, as TOML."""
        return dump_toml(to_plain(self))


def _problems(run: RunConfig) -> list[str]:
    heads = [head.dataset for head in run.model.heads]
    found = [
        f"data: a set is for dataset {one.dataset!r}, which no head has{nearest(one.dataset, heads)}"
        for one in (*run.data.train, *run.data.validation)
        if one.dataset not in heads and run.objective.kind != "masked"
    ]
    kinds = [*KINDS, "auto", PICTURES]
    found += [
        f"data: unknown format {one.format!r}{nearest(one.format, kinds)}"
        for one in (*run.data.train, *run.data.validation)
        if one.format not in kinds
    ]
    loop, schedule, objective, optim = run.loop, run.schedule, run.objective, run.optim
    ratio = objective.masked.ratio
    rules = (
        (bool(run.data.train), "data.train is empty"),
        (0 <= run.data.holdout < 1, f"data.holdout must be at least 0 and below 1, not {run.data.holdout}"),
        (loop.batch_size >= 1, f"loop.batch_size must be at least 1, not {loop.batch_size}"),
        (run.data.workers >= 0, f"data.workers must be at least 0, not {run.data.workers}"),
        (loop.micro_batch >= 0, f"loop.micro_batch must be at least 0, not {loop.micro_batch}"),
        (schedule.epochs >= 1, f"schedule.epochs must be at least 1, not {schedule.epochs}"),
        (loop.save_every >= 1 and loop.log_every >= 1, "loop.save_every and loop.log_every must be at least 1"),
        (loop.evaluate_every >= 1, f"loop.evaluate_every must be at least 1, not {loop.evaluate_every}"),
        (optim.lr > 0, f"optim.lr must be above 0, not {optim.lr}"),
        (min(optim.clip_norm, optim.weight_decay) >= 0, "optim.clip_norm and weight_decay must be 0 or more"),
        (optim.eps > 0 and all(0 <= one < 1 for one in optim.betas), "optim.eps or optim.betas is out of range"),
        (optim.muon_lr > 0, f"optim.muon_lr must be above 0, not {optim.muon_lr}"),
        (0 < optim.layer_decay <= 1, f"optim.layer_decay must be in 0..1, not {optim.layer_decay}"),
        (0 <= optim.ema < 1, f"optim.ema must be at least 0 and below 1, not {optim.ema}"),
        (0 <= objective.balance <= 1, f"objective.balance must be in 0..1, not {objective.balance}"),
        (0 < ratio < 1, f"objective.masked.ratio must be between 0 and 1, not {ratio}"),
        (run.seed >= 0, f"seed must be at least 0, not {run.seed}"),
    )
    return found + [message for ok, message in rules if not ok]
