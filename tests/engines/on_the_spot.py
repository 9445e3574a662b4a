"""A CPU in the part of a GPU: engines that offer their model where it is, so that the same code runs without one."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vitpose.engines.base import Resident
from vitpose.engines.deploy import DeployModel
from vitpose.models.pose import VitPose


class OnTheSpot:
    """Gives its heatmaps to crops that are on its device, and refuses those in memory."""

    name = "on-the-spot"

    def __init__(self, model: VitPose, dataset: str | None = None) -> None:
        self.deploy = DeployModel(model, dataset).eval()
        self.run: Callable[[Tensor], Tensor] = self.deploy
        self.input_size, self.heatmap_size = model.spec.input_size, model.spec.heatmap_size
        self.num_keypoints = self.deploy.head.keypoints
        self.batches: list[int] = []

    def resident(self) -> Resident:
        return Resident(torch.device("cpu"), self._counted, self.deploy)

    def _counted(self, crops: Tensor) -> Tensor:
        self.batches.append(len(crops))
        return self.run(crops)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        raise AssertionError("crops came through memory")

    def close(self) -> None:
        pass
