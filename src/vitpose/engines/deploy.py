"""The one graph that every engine runs or exports: crops as they come from the picture, heatmaps as the codec reads."""

import torch
from torch import Tensor, nn

from vitpose.models.pixels import normalize
from vitpose.models.pose import VitPose


class DeployModel(nn.Module):
    """A model with one head chosen, with normalisation before it and a cast after it."""

    def __init__(self, model: VitPose, dataset: str | None = None) -> None:
        """Wrap a model; its weights are shared, not copied.

        Args:
            model: computes in the type of its weights.
            dataset: which head; the first by default.

        Raises:
            UsageError: the model has no head for ``dataset``.
        """
        super().__init__()
        self.head = model.spec.head(dataset)
        self.model = model

    def forward(self, crops: Tensor) -> Tensor:
        """Run the model.

        Args:
            crops: ``(people, height, width, 3)`` uint8 RGB on the model's device.

        Returns:
            ``(people, keypoints, height, width)`` float32 heatmaps.
        """
        images = normalize(crops, self.model.backbone.pos_embed.dtype)
        heatmaps: Tensor = self.model(images, self.head.dataset)
        return heatmaps.to(torch.float32)
