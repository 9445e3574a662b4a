"""Float8 linear layers for the GPU study: PyTorch's scaled product, and torchao where it is installed."""

from collections.abc import Callable
from typing import Any

import torch
from gpu_harness import Study, crops_to_keypoints
from torch import Tensor, nn

from vitpose.engines.deploy import DeployModel
from vitpose.models.pose import VitPose


class Float8Linear(nn.Module):
    """A linear layer with float8 weights and inputs, one scale a tensor, accumulated in float32."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        largest = linear.weight.detach().abs().max().float() / torch.finfo(torch.float8_e4m3fn).max
        self.weight = (linear.weight.detach().float() / largest).to(torch.float8_e4m3fn)
        self.bias, self.scale = linear.bias, largest

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(batch, tokens, channels)``."""
        flat = tokens.flatten(0, -2)
        scale = flat.abs().amax().float() / torch.finfo(torch.float8_e4m3fn).max
        small = (flat / scale.to(flat.dtype)).to(torch.float8_e4m3fn)
        out = torch._scaled_mm(
            small, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias, out_dtype=tokens.dtype
        )
        return out.unflatten(0, tokens.shape[:-1])


def scaled_products(study: Study, size: str) -> tuple[VitPose, VitPose]:
    """Return a model and its copy whose blocks have ``Float8Linear``."""
    model = study.model(size)
    version = study.on_device(model)
    for block in version.backbone.blocks:
        block.qkv, block.proj = Float8Linear(block.qkv), Float8Linear(block.proj)
        block.ffn.fc1, block.ffn.fc2 = Float8Linear(block.ffn.fc1), Float8Linear(block.ffn.fc2)
    return model, version


def torchao_rows(study: Study, size: str) -> tuple[VitPose, VitPose]:
    """Return a model and its copy with torchao's float8 layers, one scale a row."""
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

    model = study.model(size)
    version = study.on_device(model)
    quantize_(version.backbone.blocks, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()))
    return model, version


def float8(study: Study, size: str, made: Callable[[Study, str], tuple[VitPose, VitPose]]) -> dict[str, Any]:
    """Throughput, eager and compiled, and how far the heatmaps are from bf16's."""
    model, version = made(study, size)
    crops = study.crops(model, 4)
    with torch.inference_mode():
        plain = DeployModel(study.on_device(model)).eval()(crops)
        apart = float((DeployModel(version).eval()(crops) - plain).abs().mean() / plain.std())
    row: dict[str, Any] = {"mean_error_by_spread": apart}
    for name, compiled in (("as_it_is", False), ("compiled", True)):
        try:
            row[name] = crops_to_keypoints(study, model, version, compiled=compiled)
        except Exception as error:  # one of the two may do
            row[name] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
    return row
