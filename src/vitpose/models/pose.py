"""The whole model: one backbone and one head a dataset, crops in, heatmaps out.

Heads follow Xu et al. 2022 (ViTPose): ``classic`` is two deconvolutions (from Xiao et al. 2018, SimpleBaseline),
``simple`` one bilinear enlargement and a convolution. Heatmaps are raw regression outputs: slightly below 0 or above 1
is normal. Heads of ``places`` end in a softmax over the pixels instead.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitpose.core.errors import UsageError
from vitpose.core.geometry import Size, sigma_on
from vitpose.models.variants import Attention, HeadSpec, ModelSpec, published_spec
from vitpose.models.vit import Backbone, resize_positions

SHARPNESS = 10.0
"""Factor before the softmax over places: what a head puts out then stays about as large as a heatmap, up to 1."""


def places(raw: Tensor) -> Tensor:
    """Turn the output of a head of ``places`` into maps that are read like heatmaps.

    For each keypoint, ``softmax(10 raw)`` over all pixels is the probability of its place. It is scaled by the sum of a
    target Gaussian, so that who is as sure as a target gives height 1, and who is surer a little more (the bound is the
    root of that sum, 2.5 on 24 x 32 pixels). The square root is taken, so that who wavers
    between places, or is off by as much as labels are, stays above the thresholds that heatmaps are read with.

    Args:
        raw: ``(batch, keypoints, height, width)``.

    Returns:
        the same shape, float32, above 0.
    """
    height, width = raw.shape[-2:]
    mass = 2 * math.pi * sigma_on(Size(height, width)) ** 2
    probability = F.softmax(SHARPNESS * raw.to(torch.float32).flatten(2), dim=2)
    return (mass * probability).sqrt().reshape(raw.shape)


class ClassicHead(nn.Module):
    """Two deconvolutions with batch norm and ReLU, then a 1 x 1 convolution."""

    def __init__(self, width: int, spec: HeadSpec) -> None:
        super().__init__()
        middle = spec.deconv_width
        self.deconv1 = nn.ConvTranspose2d(width, middle, 4, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.deconv2 = nn.ConvTranspose2d(middle, middle, 4, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.out = nn.Conv2d(middle, spec.keypoints, 1)
        _initialize_head(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, width, rows, columns)`` to heatmaps ``(batch, keypoints, 4 rows, 4 columns)``."""
        features = F.relu(self.bn1(self.deconv1(features)))
        features = F.relu(self.bn2(self.deconv2(features)))
        return _last(self.out, features)


class SimpleHead(nn.Module):
    """ReLU, four times bilinear enlargement, then a 3 x 3 convolution."""

    def __init__(self, width: int, spec: HeadSpec) -> None:
        super().__init__()
        self.out = nn.Conv2d(width, spec.keypoints, 3, padding=1)
        _initialize_head(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(batch, width, rows, columns)`` to heatmaps ``(batch, keypoints, 4 rows, 4 columns)``."""
        features = F.interpolate(F.relu(features), scale_factor=4, mode="bilinear", align_corners=False)
        return _last(self.out, features)


def _last(layer: nn.Conv2d, features: Tensor) -> Tensor:
    """Run a head's last layer in the type of its weights, which may be float32 in a model that else is not."""
    return cast(Tensor, layer(features.to(layer.weight.dtype)))


def _initialize_head(head: nn.Module) -> None:
    for part in head.modules():
        # On the meta device there is nothing to fill, and PyTorch would import its compiler for it: nearly a second.
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and not part.weight.is_meta:
            nn.init.normal_(part.weight, std=0.001)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class VitPose(nn.Module):
    """ViTPose or ViTPose+: a backbone and at least one head.

    Args:
        spec: what the model is made of. Weights are random; see ``create_model`` and ``build_from_state``.

    Raises:
        UsageError: a dataset name that cannot name a part of a PyTorch module.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec.backbone, spec.input_size)
        self.heads = nn.ModuleDict()
        for head in spec.heads:
            if not head.dataset or "." in head.dataset or hasattr(self.heads, head.dataset):
                raise UsageError(
                    f"a head cannot be called {head.dataset!r}: the name is part of the names of its weights, so it "
                    "must not be empty, hold a dot, or be a method of a PyTorch module; add a prefix"
                )
            kind = ClassicHead if head.kind == "classic" else SimpleHead
            self.heads[head.dataset] = kind(spec.backbone.width, head)

    def forward(self, images: Tensor, dataset: str | None = None) -> Tensor:
        """Compute the heatmaps of one dataset's keypoints.

        Args:
            images: ``(batch, 3, height, width)``, normalised, of exactly ``spec.input_size``.
            dataset: whose keypoints (and, in ViTPose+, whose expert); the first head if not given.

        Returns:
            ``(batch, keypoints, heatmap height, heatmap width)``.

        Raises:
            UsageError: wrong image size, or no head for that dataset.
        """
        head = self.spec.head(dataset)
        features = self.backbone(images, head.expert).features
        return self.finished(self.heads[head.dataset](features), head)

    @staticmethod
    def finished(raw: Tensor, head: HeadSpec) -> Tensor:
        """Return the maps of a head from what its layers put out: the same, or places; see ``places``."""
        return places(raw) if head.maps == "places" else raw

    def forward_mixed(self, images: Tensor, datasets: Sequence[str]) -> list[Tensor]:
        """Compute heatmaps where every sample has its own dataset.

        The backbone runs once, each expert and each head once on its own rows. In training, batch norm sees the rows of
        its head only, and heads and experts without rows get no gradient.

        Args:
            images: ``(batch, 3, height, width)``, normalised, of exactly ``spec.input_size``.
            datasets: one a sample.

        Returns:
            one ``(keypoints, heatmap height, heatmap width)`` a sample, in order.

        Raises:
            UsageError: wrong image size, no head for a dataset, or not one dataset a sample.
        """
        if len(datasets) != images.shape[0]:
            raise UsageError(f"{len(datasets)} datasets for a batch of {images.shape[0]}: give one a sample")
        if not datasets:
            return []
        heads = [self.spec.head(dataset) for dataset in datasets]
        if self.spec.backbone.experts:
            features = self.backbone(images, torch.tensor([head.expert for head in heads])).features
        else:
            features = self.backbone(images).features
        found: dict[int, Tensor] = {}
        for name in dict.fromkeys(head.dataset for head in heads):
            rows = [row for row, head in enumerate(heads) if head.dataset == name]
            maps = self.finished(self.heads[name](features[rows]), self.spec.head(name))
            found.update(zip(rows, maps.unbind(), strict=True))
        return [found[row] for row in range(len(heads))]

    def resized(self, input_size: Size) -> "VitPose":
        """Return a copy for another crop size; position embeddings are resized, all else is as it was.

        Args:
            input_size: height and width in pixels, each a multiple of the patch.

        Raises:
            UsageError: not a multiple of the patch.
        """
        spec = replace(self.spec, input_size=Size(*input_size))
        state = dict(self.state_dict())
        state["backbone.pos_embed"] = resize_positions(
            state["backbone.pos_embed"], self.backbone.grid, spec.backbone.grid(spec.input_size)
        )
        return build_from_state(spec, state, like=self)


def build_from_state(spec: ModelSpec, state: Mapping[str, Tensor], *, like: VitPose | None = None) -> VitPose:
    """Build a model straight from weights, without drawing random ones first.

    Args:
        spec: what the model is made of.
        state: all weights under their canonical names; copied, so the model shares no memory with them. Types and
            devices are kept.
        like: take over training or evaluation mode, checkpointing and which parameters are frozen from this model.

    Raises:
        RuntimeError: names or shapes do not match (loaders check before they call).
    """
    with torch.device("meta"):
        model = VitPose(spec)
    model.load_state_dict({name: value.detach().clone() for name, value in state.items()}, assign=True)
    if like is None:
        return model.eval()
    trainable = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable.get(name, True))
    model.backbone.set_checkpointing(like.backbone.checkpointing)
    return model.train(like.training)


def create_model(
    name_or_spec: str | ModelSpec,
    *,
    input_size: Size | tuple[int, int] | None = None,
    stride: int | None = None,
    attention: Attention | Sequence[Attention] | None = None,
    heads: Sequence[HeadSpec] | None = None,
    drop_path: float | None = None,
    seed: int | None = None,
) -> VitPose:
    """Build a model with random weights, in training mode.

    Args:
        name_or_spec: a published name such as ``vitpose-b``, or a spec; the other arguments change parts of it.
        input_size: height and width of the crops in pixels.
        stride: 16, or 8 for features of twice the resolution.
        attention: one for all blocks, or one a block (see ``attention.alternate``).
        heads: other heads, one a dataset.
        drop_path: stochastic depth of the last block.
        seed: makes the weights repeatable; PyTorch's own random state is left as it was.

    Raises:
        UsageError: an unknown name, or parts that do not go together.
    """
    spec = published_spec(name_or_spec) if isinstance(name_or_spec, str) else name_or_spec
    backbone = spec.backbone
    if stride is not None:
        backbone = replace(backbone, stride=stride)
    if attention is not None:
        backbone = replace(backbone, attention=(attention,) if isinstance(attention, Attention) else tuple(attention))
    if drop_path is not None:
        backbone = replace(backbone, drop_path=drop_path)
    size = spec.input_size if input_size is None else Size(*input_size)
    spec = replace(spec, backbone=backbone, heads=spec.heads if heads is None else tuple(heads), input_size=size)
    with contextlib.ExitStack() as stack:
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)
        return VitPose(spec)
