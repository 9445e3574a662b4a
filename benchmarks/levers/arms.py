"""What is compared: arms, each one change away from the arm it is compared with, on the same people and seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from levers.scales import Scale
from vitpose.training.config import RunConfig, SetConfig
from vitpose.training.recipe import load_config

RECIPE = "lspet-ti-128x96"
"""Complete settings that every arm changes: one head, Leeds Sports Pose Extended."""

PRETRAINED = "model.start={pretraining}"
MUON = "optim.kind=muon"
"""Of every arm outside the lever ``start``: it gets further than AdamW in few passes, so arms have room to differ."""

FULL = "stride 8, full attention"

COCO = SetConfig(dataset="coco", annotations="coco/person_keypoints_train.json", images="coco/images")
"""Where other people are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train, or to test what another arm has trained.

    Attributes:
        name: as in the results.
        settings: changes to the recipe; ``{teacher}`` stands for the weights of the arm of that name.
        needs: arms whose weights the settings name.
        tests: the arm whose weights are tested in another way; nothing is trained then.
        flip_test: average with the mirrored crop when testing.
        judged: has keypoints to be scored.
        shared: one run serves all seeds (or as many as the scale has pre-trainings).
        others: it learns from people of COCO, too, with a ``head`` of their own and its 17 keypoints, or with
            ``labels`` of the 14 that the teacher made.
    """

    name: str
    settings: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    tests: str = ""
    flip_test: bool = True
    judged: bool = True
    shared: bool = False
    others: Literal["", "head", "labels"] = ""


@dataclass(frozen=True, slots=True)
class Lever:
    """A question: what does each arm bring over the baseline?

    Attributes:
        part: what selects it on the command line.
        question: in words.
        baseline: name of the arm without the lever.
        arms: names of the arms with it.
    """

    part: str
    question: str
    baseline: str
    arms: tuple[str, ...]


LEVERS = (
    Lever(
        "start",
        "from random weights, what is known beforehand",
        "scratch",
        ("structured start", "Muon", "cross-entropy", "structured start, Muon, cross-entropy"),
    ),
    Lever(
        "structure",
        "the structured start, where Muon and places are there already",
        "Muon, cross-entropy",
        ("structured start, Muon, cross-entropy",),
    ),
    Lever(
        "stem",
        "convolutions in place of the patch projection",
        "Muon, cross-entropy",
        ("stem of convolutions", "stem of convolutions, half the blocks"),
    ),
    Lever("rate", "another learning rate of AdamW", "scratch", ("AdamW at half the rate", "AdamW at twice the rate")),
    Lever("pretraining", "masked pre-training instead of random weights", "Muon", ("pre-trained",)),
    Lever("flip", "averaging with the mirrored crop when testing", "no flip test", ("pre-trained",)),
    Lever("decay", "layer-wise decay of the learning rate", "pre-trained", ("layer decay 0.75",)),
    Lever(
        "codec", "targets at fractions of a pixel (UDP) instead of whole ones (MSRA)", "MSRA codec", ("pre-trained",)
    ),
    Lever("freezing", "training a part of each block only", "pre-trained", ("frozen attention", "frozen FFN")),
    Lever(
        "distillation",
        "a larger teacher",
        "pre-trained",
        ("teacher's heatmaps", "teacher's token", "teacher's heatmaps and token"),
    ),
    Lever(
        "second head",
        "people of COCO beside the athletes, with a head of their own",
        "pre-trained",
        ("second head, as many people in all", "second head, as many passes"),
    ),
    Lever(
        "made labels",
        "people of COCO beside the athletes, with labels the teacher made",
        "pre-trained",
        ("made labels, as many people in all", "made labels, as many passes"),
    ),
    Lever(
        "windows",
        "who attends to whom at 1/8 resolution",
        FULL,
        ("stride 8, window", "stride 8, shifted", "stride 8, pooled", "stride 8, shifted+pooled"),
    ),
)


def arms_of(scale: Scale) -> dict[str, Arm]:
    """Return all arms by name."""
    start = (MUON, PRETRAINED)
    distill = (*start, "objective.kind=distill")
    output, token = (
        ("objective.distill.teacher={teacher}", "objective.distill.output=1.0"),
        ("objective.distill.token={token}",),
    )
    structured = ("model.init=structured",)
    entropy = ("model.heads.0.maps=places",)
    convolutions = (MUON, *entropy, "model.backbone.stem=convolutions", "model.backbone.stem_depths=[1,1,1]")
    teacher = (MUON, *scale.teacher)
    window = f"model.backbone.window=[{scale.window[0]},{scale.window[1]}]"
    arms = [
        Arm(name="pretraining", settings=(MUON, "objective.kind=masked", *scale.masked), judged=False, shared=True),
        Arm(name="scratch"),
        Arm(name="structured start", settings=structured),
        Arm(name="Muon", settings=(MUON,)),
        Arm(name="cross-entropy", settings=entropy),
        Arm(name="Muon, cross-entropy", settings=(MUON, *entropy)),
        Arm(name="stem of convolutions", settings=convolutions),
        Arm(name="stem of convolutions, half the blocks", settings=(*convolutions, *scale.half_the_blocks)),
        Arm(name="AdamW at half the rate", settings=(f"optim.lr={scale.rates[0]}",)),
        Arm(name="AdamW at twice the rate", settings=(f"optim.lr={scale.rates[1]}",)),
        Arm(name="structured start, Muon, cross-entropy", settings=(*structured, MUON, *entropy)),
        Arm(name="pre-trained", settings=start, needs=("pretraining",)),
        Arm(name="no flip test", tests="pre-trained", flip_test=False),
        Arm(name="layer decay 0.75", settings=(*start, "optim.layer_decay=0.75"), needs=("pretraining",)),
        Arm(name="MSRA codec", settings=(*start, "model.heads.0.codec=msra"), needs=("pretraining",)),
        Arm(name="frozen attention", settings=(*start, "optim.freeze_attention=true"), needs=("pretraining",)),
        Arm(name="frozen FFN", settings=(*start, "optim.freeze_ffn=true"), needs=("pretraining",)),
        Arm(name="teacher", settings=teacher, shared=True),
        Arm(
            name="token",
            settings=(*teacher, *scale.token, "model.start={teacher}", "objective.kind=knowledge-token"),
            needs=("teacher",),
            judged=False,
            shared=True,
        ),
        Arm(name="teacher's heatmaps", settings=(*distill, *output), needs=("pretraining", "teacher")),
        Arm(name="teacher's token", settings=(*distill, *token), needs=("pretraining", "token")),
        Arm(
            name="teacher's heatmaps and token",
            settings=(*distill, *output, *token),
            needs=("pretraining", "teacher", "token"),
        ),
    ]
    for others, shown, needs in (("head", "second head", ()), ("labels", "made labels", ("teacher",))):
        fixed = {"needs": ("pretraining", *needs), "others": others}
        arms.append(Arm(name=f"{shown}, as many people in all", settings=(*start, *scale.others_passes), **fixed))
        arms.append(Arm(name=f"{shown}, as many passes", settings=start, **fixed))
    for kind in ("full", "window", "shifted", "pooled", "shifted+pooled"):
        shown = FULL if kind == "full" else f"stride 8, {kind}"
        settings = (MUON, *scale.stride8, "model.backbone.stride=8", f"model.backbone.attention={kind}", window)
        arms.append(Arm(name=shown, settings=settings))
    return {arm.name: arm for arm in arms}


def order(arms: Mapping[str, Arm], names: list[str]) -> list[Arm]:
    """Return the arms ``names`` and all they rest on, each once, after what it rests on."""
    found: dict[str, Arm] = {}

    def visit(name: str) -> None:
        for before in (*arms[name].needs, *([arms[name].tests] if arms[name].tests else ())):
            visit(before)
        found.setdefault(name, arms[name])

    for name in names:
        visit(name)
    return list(found.values())


def config_of(arm: Arm, scale: Scale, seed: int, data: Path, weights: Mapping[str, Path]) -> RunConfig:
    """Return the complete settings of a run.

    Args:
        arm: what is trained.
        scale: of the study.
        seed: of the run.
        data: folder with ``lspet`` and ``coco``.
        weights: of the arms in ``arm.needs``.
    """
    fixed = (
        f"data.root={data}",
        f"seed={seed}",
        f"data.train.0.first={scale.people}",
        f"data.validation.0.first={scale.judged}",
        f"data.resident={str(scale.resident).lower()}",
        # Nothing is chosen by the held-out people: the last weights are judged.
        "loop.evaluate_every=100000",
        "loop.log_every=20",
    )
    named = [setting.format_map(weights) for setting in arm.settings]
    config = load_config(RECIPE, [*fixed, *scale.pose, *named])
    return _with_others(config, arm, weights) if arm.others else config


def _with_others(config: RunConfig, arm: Arm, weights: Mapping[str, Path]) -> RunConfig:
    """Add people of COCO: ``Bench`` takes the first so many of those with labelled keypoints."""
    head = config.model.heads[0]
    if arm.others == "labels":
        made = str(made_labels(weights["teacher"]).absolute())
        more = SetConfig(dataset=head.dataset, annotations=made, images=COCO.images)
        return replace(config, data=replace(config.data, train=(*config.data.train, more)))
    second = replace(head, dataset=COCO.dataset, skeleton="coco17")
    model = replace(config.model, heads=(head, second))
    return replace(config, model=model, data=replace(config.data, train=(*config.data.train, COCO)))


def made_labels(teacher: Path) -> Path:
    """Return where the labels are that a teacher made for people of COCO."""
    return teacher.parent / "made.json"
