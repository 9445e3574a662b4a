"""Maps against labels: the objective every pose model is trained with, for one dataset or several at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.codec.codec import Codec
from vitpose.core.skeleton import Skeleton
from vitpose.data.batch import Batch
from vitpose.models.pixels import normalize
from vitpose.models.pose import SHARPNESS, VitPose
from vitpose.models.variants import HeadSpec, ModelSpec

Logs = dict[str, Tensor]
Predictions = dict[str, tuple[list[int], Tensor]]


class HeatmapLoss(nn.Module):
    """Distance between predicted and target maps, labelled keypoints only.

    ``heatmaps`` are measured by the mean squared distance (Xiao et al. 2018). For each person the mean runs over *all*
    keypoints and pixels, labelled or not, as in the original release, so a person with few labels pulls less.

    ``places`` are measured by the cross-entropy, in nats, between the target, scaled to sum 1, and the predicted
    probability of each pixel. While a model knows nothing yet, the squared distance hardly tells a wrong place from
    none and training from nothing stays at the mean pose for long; the cross-entropy does tell them apart
    (``docs/decisions/006-from-nothing-on-small-data.md``). A person's mean runs over all keypoints here, too.

    Each person's mean is weighed by the dataset's factor. The two distances are of different size: sets whose heads
    differ in their maps need factors of their own.
    """

    def __init__(
        self,
        spec: ModelSpec,
        skeletons: Mapping[str, Skeleton] | None = None,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        """Prepare codecs and weights.

        Args:
            spec: the model whose heads are trained.
            skeletons: by dataset, to weigh keypoints as they say; None weighs all the same.
            factors: weight of one person of each dataset, see ``balance_factors``; 1 where nothing is said.
        """
        super().__init__()
        self._crop, self._heatmap = spec.input_size, spec.heatmap_size
        self._codecs = {head.dataset: Codec.for_head(head, spec.heatmap_size) for head in spec.heads}
        self._heads = {head.dataset: head for head in spec.heads}
        self._factors = dict(factors or {})
        self._keypoint_weights = {
            name: torch.tensor(skeleton.weights) for name, skeleton in (skeletons or {}).items() if skeleton.weights
        }

    def forward(self, predictions: Predictions, batch: Batch) -> tuple[Tensor, Logs]:
        """Return the mean weighed distance over the people of ``batch``, and with several heads each head's own mean.

        Args:
            predictions: what ``predict`` gave.
            batch: crops and labels.
        """
        parts = {name: self.distances(heatmaps, batch, name, rows) for name, (rows, heatmaps) in predictions.items()}
        total = torch.stack([part.sum() for part in parts.values()]).sum() / len(batch.datasets)
        if len(self._codecs) == 1:
            return total, {}
        return total, {f"loss/{name}": part.detach().mean() for name, part in parts.items()}

    def distances(self, heatmaps: Tensor, batch: Batch, dataset: str, rows: Sequence[int]) -> Tensor:
        """Return the weighed distance of each of the people ``rows`` of ``batch``, ``(people,)`` float32.

        Args:
            heatmaps: ``(people, keypoints, height, width)``, what the head's layers put out for ``rows``.
            batch: crops and labels.
            dataset: which head the predictions are of.
            rows: positions in the batch.
        """
        head = self._heads[dataset]
        whole = len(rows) == len(batch.datasets)
        xy, visible = (part if whole else part[list(rows)] for part in (batch.xy, batch.weights))
        targets, weights = self._codecs[dataset].encode(
            xy[:, : head.keypoints], visible[:, : head.keypoints], self._crop, self._heatmap
        )
        if dataset in self._keypoint_weights:
            weights = weights * self._keypoint_weights[dataset].to(weights)
        # The weights are applied to (people, keypoints) numbers instead of to the maps: the same sum, one pass less.
        distance = map_distance(heatmaps, targets, head)
        return (distance * weights.square()).mean(dim=1) * self._factors.get(dataset, 1.0)


def map_distance(raw: Tensor, targets: Tensor, head: HeadSpec) -> Tensor:
    """Return the ``(people, keypoints)`` distance between what a head's layers put out and target maps, by its kind.

    A target without mass, of a keypoint that is not there, gives 0 for places.

    Args:
        raw: ``(people, keypoints, height, width)``.
        targets: the same shape.
        head: says what its maps are.
    """
    if head.maps == "heatmaps":
        return (raw.float() - targets).square().mean(dim=(2, 3))
    wanted = targets.flatten(2).clamp(min=0)
    wanted = wanted / wanted.sum(dim=2, keepdim=True).clamp(min=1e-6)
    return -(wanted * F.log_softmax(SHARPNESS * raw.float().flatten(2), dim=2)).sum(dim=2)


def balance_factors(people: Mapping[str, int], balance: float) -> dict[str, float]:
    """Return the weight of one person of each dataset so that rare sets are not drowned.

    With ``p`` a set's share of all people, a person weighs ``p ** -balance``, scaled so that the average over all
    people is 1: the overall step keeps its size. With 0 every person weighs the same: a head's loss has its share of
    the batch, as in ViTPose+. With 1 every set weighs the same. Being constant, the weights do not depend on how a
    batch is cut into micro-batches or over processes.

    Args:
        people: number of training people by dataset.
        balance: 0 to 1.
    """
    total = sum(people.values())
    shares = {name: count / total for name, count in people.items() if count}
    raw = {name: share**-balance for name, share in shares.items()}
    mean = sum(shares[name] * weight for name, weight in raw.items())
    return {name: weight / mean for name, weight in raw.items()}


def rows_by_dataset(datasets: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each dataset's samples, datasets in order of appearance."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(datasets):
        rows.setdefault(name, []).append(row)
    return rows


def features_of(model: VitPose, images: Tensor, datasets: Sequence[str], extra_tokens: Tensor | None = None) -> Tensor:
    """Run the backbone once on people of several datasets, each with its expert.

    Args:
        model: the model.
        images: ``(batch, 3, height, width)`` normalised.
        datasets: one a sample.
        extra_tokens: appended to the patches, ``(1, extra, width)``.

    Returns:
        ``(batch, width, rows, columns)``.
    """
    experts = [model.spec.head(name).expert for name in datasets]
    chosen: int | Tensor = torch.tensor(experts) if len(set(experts)) > 1 else experts[0]
    features: Tensor = model.backbone(images, chosen, extra_tokens).features
    return features


def predict(model: VitPose, features: Tensor, datasets: Sequence[str]) -> Predictions:
    """Run every head's layers on the features of its own samples: positions and their output by dataset.

    Heads of places are left without their softmax, which the loss takes in a form that does not underflow.
    """
    rows = rows_by_dataset(datasets)
    return {name: (own, model.heads[name](features if len(rows) == 1 else features[own])) for name, own in rows.items()}


class Supervised(nn.Module):
    """Batch to loss: crops through the model, every head on its own samples, distance to the drawn targets."""

    def __init__(self, model: VitPose, loss: HeatmapLoss) -> None:
        """Join a model and what it is measured by."""
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch) -> tuple[Tensor, Logs]:
        """Return the mean weighed loss of the people in ``batch``, and each dataset's own mean."""
        features = features_of(self.model, normalize(batch.crops), batch.datasets)
        loss, logs = self.loss(predict(self.model, features, batch.datasets), batch)
        return loss, logs
