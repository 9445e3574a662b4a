"""From a configuration to the objects the loop needs: model, objective, optimiser."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitpose.core.errors import InputError, UsageError
from vitpose.core.skeleton import Skeleton
from vitpose.models.pose import VitPose, create_model
from vitpose.training.config import RunConfig
from vitpose.training.distill import Distill, KnowledgeToken
from vitpose.training.masked import Masked
from vitpose.training.optim import freeze
from vitpose.training.processes import join_processes
from vitpose.training.start import start_from
from vitpose.training.supervised import HeatmapLoss, Supervised, balance_factors
from vitpose.weights.load import load_model


def build_model(config: RunConfig, *, load: bool = True) -> tuple[VitPose, tuple[str, ...]]:
    """Return the model of a run, in training mode, and what was done to its starting weights.

    Args:
        config: of the run.
        load: read ``model.start``; not needed where the weights will be replaced by those of a saved state.

    Raises:
        UsageError: parts that do not go together.
        WeightsError: the starting weights are not to be had or do not fit.
    """
    model = create_model(config.model.spec(), seed=config.seed)
    notes: tuple[str, ...] = ()
    if load and config.model.start:
        notes = start_from(model, config.model.skeletons(), config.model.start)
    model.backbone.set_checkpointing(config.loop.checkpointing)
    return model.train(), notes


def build_objective(config: RunConfig, model: VitPose, people: Mapping[str, int]) -> nn.Module:
    """Return the module that is trained, frozen as the configuration says.

    Args:
        config: of the run.
        model: what ``build_model`` gave.
        people: number of training people by dataset, for ``objective.balance``.

    Raises:
        UsageError: parts that do not go together.
        WeightsError: a teacher that is not to be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        objective = _objective(config, model, people)
    if config.objective.kind != "knowledge-token":
        freeze(model, config.optim)
    if config.loop.compile:
        model.backbone.compile()
    return objective


def _objective(config: RunConfig, model: VitPose, people: Mapping[str, int]) -> nn.Module:
    kind = config.objective.kind
    if kind == "masked":
        return Masked(model, config.objective.masked, fresh=not config.model.start)
    factors = balance_factors(people, config.objective.balance)
    weighted: dict[str, Skeleton] | None = config.model.skeletons() if config.objective.keypoint_weights else None
    loss = HeatmapLoss(model.spec, weighted, factors)
    if kind == "knowledge-token":
        return KnowledgeToken(model, loss)
    if kind == "distill":
        return _distill(config, model, loss)
    return Supervised(model, loss)


def _distill(config: RunConfig, model: VitPose, loss: HeatmapLoss) -> nn.Module:
    chosen = config.objective.distill
    teacher = None
    if chosen.output > 0:
        if not chosen.teacher:
            raise UsageError("objective.distill.output is above 0: name a trained model in objective.distill.teacher")
        teacher = load_model(chosen.teacher).model
    token = load_token(chosen.token) if chosen.token else None
    return Distill(
        model, loss, teacher=teacher, output_weight=chosen.output, token=token, token_share=chosen.token_share
    )


def load_token(path: str) -> Tensor:
    """Return the ``(1, 1, width)`` token of a finished ``knowledge-token`` run.

    Raises:
        InputError: the checkpoint holds no token.
        WeightsError: it cannot be read.
    """
    values: Any = load_model(path).metadata.get("token")
    if not isinstance(values, list):
        raise InputError(f"{path} holds no knowledge token: train one with the recipe knowledge-token-l")
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, -1)


def make_accelerator(config: RunConfig, *, cpu: bool = False) -> Any:
    """Return the ``Accelerator`` of a run's process; see ``join_processes``."""
    return join_processes(
        config.loop.batch_size,
        precision={"fp32": "no"}.get(config.loop.precision, config.loop.precision),
        cpu=cpu,
        unused=len(config.model.heads) > 1,
        name="loop.batch_size",
    )
