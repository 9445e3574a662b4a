"""Learning from a teacher: its heatmaps (output distillation) and a token it made its own (token distillation).

Xu et al. 2022 (ViTPose), section 3.4; what the paper leaves open is decided in
``docs/decisions/005-knowledge-token.md``.
"""

import torch
from torch import Tensor, nn

from vitpose.core.errors import UsageError
from vitpose.data.batch import Batch
from vitpose.models.pixels import normalize
from vitpose.models.pose import VitPose
from vitpose.models.variants import HeadSpec, ModelSpec
from vitpose.training.supervised import HeatmapLoss, Logs, Predictions, features_of, map_distance, predict

_NOISE = 0.1
"""Part of a heatmap's peak below which it says nothing about where the keypoint is."""


def frozen(teacher: VitPose) -> VitPose:
    """Return the teacher in inference mode, without gradients to its weights."""
    for parameter in teacher.parameters():
        parameter.requires_grad = False
    return teacher.eval()


class KnowledgeToken(nn.Module):
    """Stage one: learn one token that, appended to a frozen teacher's patches, lowers the teacher's own loss."""

    def __init__(self, teacher: VitPose, loss: HeatmapLoss) -> None:
        """Append a random token to a trained model.

        Raises:
            UsageError: the teacher has windowed attention, which has no place for the token.
        """
        super().__init__()
        if any(entry.kind != "full" for entry in teacher.spec.backbone.attention):
            raise UsageError("a knowledge token needs a teacher with full attention: windows have no place for it")
        self.model = frozen(teacher)
        self.loss = loss
        self.token = nn.Parameter(torch.empty(1, 1, teacher.spec.backbone.width))
        nn.init.trunc_normal_(self.token, std=0.02)

    def train(self, mode: bool = True) -> "KnowledgeToken":
        """Keep the teacher in inference mode whatever the rest does."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Return the teacher's loss with the token."""
        features = features_of(self.model, normalize(batch.crops), batch.datasets, self.token)
        loss, logs = self.loss(predict(self.model, features, batch.datasets), batch)
        return loss, logs


class Distill(nn.Module):
    """Stage two: the student learns from labels, and from the teacher's heatmaps, its token, or both.

    A part of each batch sees the token; the rest goes through the plain student, which is what is kept. Where the
    widths differ, a linear map learned with the student carries the token over.
    """

    def __init__(
        self,
        model: VitPose,
        loss: HeatmapLoss,
        *,
        teacher: VitPose | None = None,
        output_weight: float = 1.0,
        token: Tensor | None = None,
        token_share: float = 0.5,
    ) -> None:
        """Join student, teacher and token.

        Args:
            model: the student.
            loss: distance to the labels.
            teacher: a trained model with heads for the same datasets; None leaves its heatmaps out.
            output_weight: weight of the distance to the teacher's heatmaps.
            token: ``(1, 1, teacher width)`` from a finished stage one; None trains without.
            token_share: part of the samples that see the token, 0..1.

        Raises:
            UsageError: neither teacher nor token, or parts that do not fit the student.
        """
        super().__init__()
        if teacher is None and token is None:
            raise UsageError("distillation needs a teacher (objective.distill.output above 0), a token, or both")
        _check_fit(model, teacher, token)
        self.model = model
        self.loss = loss
        self.teacher = None if teacher is None else frozen(_sized(teacher, model))
        self.output_weight = output_weight
        self.token_share = token_share
        self.register_buffer("token", token)
        width = model.spec.backbone.width
        self.carry: nn.Module = nn.Identity()
        if token is not None and token.shape[-1] != width:
            self.carry = nn.Linear(token.shape[-1], width)

    def train(self, mode: bool = True) -> "Distill":
        """Keep the teacher in inference mode whatever the rest does."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Return the loss against the labels, plus the weighed distance to the teacher's heatmaps."""
        images = normalize(batch.crops)
        features = self._features(images, batch.datasets)
        predictions = predict(self.model, features, batch.datasets)
        total, logs = self.loss(predictions, batch)
        if self.teacher is not None:
            distance = _distance(self.teacher, self.model.spec, images, predictions, batch.datasets)
            logs = logs | {"loss/labels": total.detach(), "loss/teacher": distance.detach()}
            total = total + self.output_weight * distance
        return total, logs

    def _features(self, images: Tensor, datasets: tuple[str, ...]) -> Tensor:
        """Run the backbone, the first samples with the token; the rounding is random, so that the share is kept."""
        if self.token is None or self.token_share == 0:
            return features_of(self.model, images, datasets)
        count = len(datasets)
        told = min(int(self.token_share * count + float(torch.rand(()))), count)
        token = self.carry(self.token)
        parts = []
        if told:
            parts.append(features_of(self.model, images[:told], datasets[:told], token))
        if told < count:
            parts.append(features_of(self.model, images[told:], datasets[told:]))
        return torch.cat(parts)


def _distance(
    teacher: VitPose, student: ModelSpec, images: Tensor, predictions: Predictions, datasets: tuple[str, ...]
) -> Tensor:
    """Return the mean distance to the teacher's maps over all keypoints, labelled or not, as labels are measured."""
    parts = []
    with torch.no_grad():
        theirs = predict(teacher, features_of(teacher, images, datasets), datasets)
    for name, (_, mine) in predictions.items():
        head = student.head(name)
        wanted, weights = as_targets(theirs[name][1], teacher.spec.head(name), head)
        parts.append((map_distance(mine, wanted, head) * weights).mean(dim=1).sum())
    return torch.stack(parts).sum() / len(datasets)


def as_targets(raw: Tensor, teacher: HeadSpec, student: HeadSpec) -> tuple[Tensor, Tensor]:
    """Return what a student is to put out according to a teacher, in the form of targets drawn from labels.

    Places are squared: the root is taken to be read, a target is the Gaussian itself. A student of places takes a
    teacher's heatmap as a distribution: what is below a part of the peak is left out, since noise around zero on
    hundreds of pixels would outweigh it, and the keypoint weighs as much as the peak is high.

    Args:
        raw: ``(people, keypoints, height, width)``, what the teacher's layers put out.
        teacher: its head.
        student: the student's head.

    Returns:
        targets of the shape of ``raw``, and weights ``(people, keypoints)`` from 0 to 1.
    """
    maps = VitPose.finished(raw, teacher).float()
    if teacher.maps == "places":
        return maps.square(), torch.ones_like(maps[..., 0, 0])
    if student.maps == "heatmaps":
        return maps, torch.ones_like(maps[..., 0, 0])
    peaks = maps.amax(dim=(2, 3), keepdim=True)
    kept = torch.where(maps >= _NOISE * peaks, maps, torch.zeros_like(maps))
    return kept.clamp(min=0), peaks[..., 0, 0].clamp(0, 1)


def _sized(teacher: VitPose, student: VitPose) -> VitPose:
    same = teacher.spec.input_size == student.spec.input_size
    return teacher if same else teacher.resized(student.spec.input_size)


def _check_fit(model: VitPose, teacher: VitPose | None, token: Tensor | None) -> None:
    if token is not None and any(entry.kind != "full" for entry in model.spec.backbone.attention):
        raise UsageError("a knowledge token needs a student with full attention: windows have no place for it")
    if teacher is None:
        return
    if teacher.spec.backbone.stride != model.spec.backbone.stride:
        raise UsageError("teacher and student must have the same stride: their heatmaps differ in size")
    for head in model.spec.heads:
        theirs = teacher.spec.head(head.dataset)
        if (theirs.keypoints, theirs.codec) != (head.keypoints, head.codec):
            raise UsageError(f"teacher and student disagree about keypoints or codec of dataset {head.dataset!r}")
