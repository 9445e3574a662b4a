"""A model as a file another runtime reads: crops of any number of people in, heatmaps (and keypoints) out."""

import contextlib
import hashlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from vitpose.codec.codec import Codec
from vitpose.core.extras import require
from vitpose.core.skeleton import Skeleton
from vitpose.engines.deploy import DeployModel
from vitpose.engines.description import CROPS, ENTRY, HEATMAPS, KEYPOINTS, SCORES, Description
from vitpose.models.moe import fold_expert
from vitpose.models.pose import VitPose

_OPSET = 20
"""The first with GELU as one operation."""

_LARGEST = 1_900_000_000
"""Bytes of weights in one ONNX file; protobuf ends at 2 GiB, beyond which they lie in a second file beside it."""


class EndToEnd(nn.Module):
    """Crops to keypoints: the model, then decoding, in one graph."""

    def __init__(self, deploy: DeployModel, codec: Codec) -> None:
        super().__init__()
        self.deploy = deploy
        self.codec = codec

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the model and decode.

        Args:
            crops: ``(people, height, width, 3)`` uint8 RGB.

        Returns:
            ``(people, keypoints, 2)`` x, y in crop pixels, ``(people, keypoints)`` scores, and the heatmaps.
        """
        heatmaps = self.deploy(crops)
        xy, scores = self.codec.decode(heatmaps, self.deploy.model.spec.input_size)
        return xy, scores, heatmaps


def describe(model: VitPose, skeleton: Skeleton, *, precision: str = "fp32", end_to_end: bool = False) -> Description:
    """Return the description of a dense model with one head."""
    return Description(
        spec=model.spec,
        skeleton=skeleton,
        codec=Codec.for_head(model.spec.head(), model.spec.heatmap_size),
        source=weights_digest(model),
        precision=precision,
        end_to_end=end_to_end,
    )


def single(model: VitPose, dataset: str | None = None) -> VitPose:
    """Return a dense fp32 copy on the CPU with the one head and expert of ``dataset``, in evaluation mode.

    Raises:
        UsageError: the model has no such head.
    """
    return fold_expert(model, dataset).to("cpu", torch.float32).eval()


def weights_digest(model: VitPose) -> str:
    """Return the SHA-256 of all weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_onnx(model: VitPose, path: Path, description: Description) -> None:
    """Write an ONNX file with a dynamic number of people.

    Args:
        model: dense, one head, on the CPU; its type of weights is that of the file.
        path: where to; weights beyond 2 GB go beside it.
        description: written into the file; says whether decoding is part of the graph.

    Raises:
        MissingExtraError: the packages for ONNX are not installed.
    """
    require("onnx", "onnx", "exporting to ONNX")
    require("onnxscript", "onnx", "exporting to ONNX")
    deploy = DeployModel(model).eval()
    graph: nn.Module = EndToEnd(deploy, description.codec).eval() if description.end_to_end else deploy
    names = [KEYPOINTS, SCORES, HEATMAPS] if description.end_to_end else [HEATMAPS]
    example = torch.zeros(2, *model.spec.input_size, 3, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("people")},),
            input_names=[CROPS],
            output_names=names,
            opset_version=_OPSET,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    program.model.metadata_props[ENTRY] = description.to_json()
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    program.save(str(path), external_data=size > _LARGEST)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on libraries we do not use away from the user."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
