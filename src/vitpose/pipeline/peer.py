"""Hugging Face ``transformers`` with the same weights, used as its documentation shows: what speed is compared with."""

import tempfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.extras import require
from vitpose.core.geometry import xyxy_to_xywh
from vitpose.core.skeleton import Skeleton
from vitpose.models.devices import pick_device
from vitpose.models.pose import VitPose
from vitpose.weights.huggingface import save_huggingface


class TransformersPeer:
    """The documented path: processor, model, post-processing; one picture with boxes at a time."""

    def __init__(self, model: VitPose, skeleton: Skeleton, *, dataset: str | None = None, device: str = "cpu") -> None:
        """Give ``transformers`` the weights of a model through its own file format.

        Args:
            model: ours.
            skeleton: of the head.
            dataset: which head; the first by default.
            device: where its model runs, in float32 as documented.
        """
        require("transformers", "all", "comparing with transformers")
        from transformers import VitPoseForPoseEstimation
        from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

        device = str(pick_device(device))
        size = model.spec.input_size
        with tempfile.TemporaryDirectory() as folder:
            save_huggingface(folder, model, skeleton, dataset=dataset)
            self._model: Any = VitPoseForPoseEstimation.from_pretrained(folder).to(device).eval()
        self._processor: Any = VitPoseImageProcessorPil(size={"height": size.height, "width": size.width})
        self._expert = model.spec.head(dataset).expert if model.spec.backbone.experts else None
        self._device = device

    def before(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> Any:
        """Return the model's input for one picture and ``(people, 4)`` xyxy boxes."""
        return self._processor(image, boxes=[xyxy_to_xywh(boxes).tolist()], return_tensors="pt").to(self._device)

    def run(self, inputs: Any) -> Any:
        """Return the model's output."""
        if self._expert is not None:
            people = len(inputs["pixel_values"])
            inputs["dataset_index"] = torch.full((people,), self._expert, device=self._device)
        with torch.no_grad():
            return self._model(**inputs)

    def after(self, outputs: Any, boxes: NDArray[np.floating]) -> list[Any]:
        """Return its poses, one dict a person."""
        if self._device != "cpu":
            outputs.heatmaps = outputs.heatmaps.cpu()
        found = self._processor.post_process_pose_estimation(outputs, boxes=[xyxy_to_xywh(boxes).tolist()])
        return list(found[0])

    def __call__(self, image: NDArray[np.uint8], boxes: NDArray[np.floating]) -> list[Any]:
        """Run all three."""
        return self.after(self.run(self.before(image, boxes)), boxes)
