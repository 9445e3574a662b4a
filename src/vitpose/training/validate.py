"""What a run is judged by while it goes: keypoints against labels, or the loss where there are no keypoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vitpose.data.records import LabelledSet
from vitpose.engines.eager import EagerEngine
from vitpose.evaluation.run import evaluate
from vitpose.models.pose import VitPose
from vitpose.pipeline.estimator import PoseEstimator
from vitpose.pipeline.head import Head
from vitpose.pipeline.options import Options
from vitpose.training.batches import StepBatches
from vitpose.training.step import seed_step

TIE_BREAK = 0.001
"""Weight of mean OKS in the score."""


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """A labelled set, the head it judges, and where its boxes come from (``gt`` or a file)."""

    dataset: str
    labelled: LabelledSet
    boxes: str = "gt"


def keypoint_scores(
    model: VitPose, sets: Sequence[ValidationSet], *, device: torch.device, flip_test: bool
) -> Callable[[], dict[str, float]]:
    """Return a function that estimates the validation sets with the weights of the moment.

    Its ``score`` is the average precision of the first set, plus a thousandth of its mean OKS, so that models that are
    still below the first threshold of AP can be told apart; further sets have their name in front.

    Args:
        model: in evaluation mode when the function is called.
        sets: at least one.
        device: where the model is.
        flip_test: average with the mirrored crop.
    """

    def score() -> dict[str, float]:
        values: dict[str, float] = {}
        for index, one in enumerate(sets):
            numbers = evaluate(
                estimator_for(model, one, device), one.labelled, boxes=one.boxes, flip_test=flip_test, metrics=["oks"]
            ).numbers
            chosen = {name: numbers[name] for name in ("ap", "ar", "mean_oks")}
            values |= chosen if index == 0 else {f"{one.labelled.name}/{name}": value for name, value in chosen.items()}
        return {"score": values["ap"] + TIE_BREAK * values["mean_oks"], **values}

    return score


def estimator_for(model: VitPose, one: ValidationSet, device: torch.device) -> PoseEstimator:
    """Return an estimator that runs ``model`` itself, so that it always has the weights of the moment."""
    engine = EagerEngine(model, dataset=one.dataset, device=str(device), dtype="fp32")
    head = Head(model.spec.head(one.dataset), one.labelled.skeleton, engine)
    return PoseEstimator({one.dataset: head}, options=Options(batch_size=64))


def negative_loss(objective: nn.Module, batches: StepBatches, *, seed: int) -> Callable[[], dict[str, float]]:
    """Return a function whose ``score`` is minus the objective's mean loss over one pass, always masked the same way.

    Args:
        objective: batch to loss, in evaluation mode when the function is called.
        batches: the validation people.
        seed: of the run.
    """

    @torch.no_grad()
    def score() -> dict[str, float]:
        losses = []
        for step, batch in enumerate(batches.stream(0, batches.steps_per_epoch)):
            seed_step(seed, step, 0)
            losses.append(float(objective(batch)[0]))
        loss = sum(losses) / len(losses)
        return {"score": -loss, "loss": loss}

    return score
