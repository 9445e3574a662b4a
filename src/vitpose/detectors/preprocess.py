"""Pictures to the tensors a Hugging Face detector was trained on, without torchvision.

The processors of transformers come in two kinds; the ones built on Pillow are asked for by name. RF-DETR has only one
that needs torchvision, so its steps are here: rescale, bilinear resize without antialiasing, normalise.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vitpose.core.errors import WeightsError
from vitpose.core.geometry import Size

Preprocess: TypeAlias = Callable[[NDArray[np.uint8]], dict[str, Tensor]]
"""One ``(height, width, 3)`` uint8 RGB picture to a batch of one: ``pixel_values`` and perhaps ``pixel_mask``."""


def load_preprocess(name: str, model_type: str, *, local: bool = False) -> Preprocess:
    """Return the preprocessing that belongs to a model.

    Args:
        name: hub id or local folder.
        model_type: as in the model's configuration.
        local: look at this disk only.

    Raises:
        OSError: the settings are not to be had.
        ValueError: the settings are not understood.
    """
    settings = _settings(name, local=local)
    if model_type == "rf_detr":
        return _RfDetr(settings, name)
    processor = _pillow_class(settings, name).from_dict(settings)

    def preprocess(image: NDArray[np.uint8]) -> dict[str, Tensor]:
        return dict(processor(images=image, return_tensors="pt", input_data_format="channels_last"))

    return preprocess


def _pillow_class(settings: dict[str, Any], name: str) -> Any:
    """Return the processor class built on Pillow.

    It is looked up by name because ``AutoImageProcessor`` itself asks for torchvision in some releases (5.17).
    """
    import transformers

    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    kind = kind.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    found = getattr(transformers, f"{kind}Pil", None)
    if not kind or found is None:
        raise ValueError(f"{name} asks for the preprocessing {kind!r}, which transformers has no Pillow version of")
    return found


def _settings(name: str, *, local: bool) -> dict[str, Any]:
    from transformers.image_processing_utils import BaseImageProcessor

    settings: dict[str, Any]
    settings, _ = BaseImageProcessor.get_image_processor_dict(name, local_files_only=local)
    return settings


class _RfDetr:
    """The steps of ``RfDetrImageProcessor`` (transformers 5.23) for pictures stretched to a fixed size."""

    def __init__(self, settings: dict[str, Any], name: str) -> None:
        size = settings.get("size") or {}
        if not {"height", "width"} <= set(size):
            raise WeightsError(f"{name}: RF-DETR needs a fixed input size (height, width), the settings say {size}")
        self._size = Size(int(size["height"]), int(size["width"]))
        self._scale = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
        normalize = settings.get("do_normalize", True)
        # Without these two keys the processor's own defaults count: the ImageNet statistics.
        mean, std = settings.get("image_mean", (0.485, 0.456, 0.406)), settings.get("image_std", (0.229, 0.224, 0.225))
        self._mean = torch.tensor(mean if normalize else (0.0, 0.0, 0.0)).view(3, 1, 1)
        self._std = torch.tensor(std if normalize else (1.0, 1.0, 1.0)).view(3, 1, 1)

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Tensor]:
        pixels = torch.tensor(image).permute(2, 0, 1)[None].float() * self._scale
        resized = functional.interpolate(pixels, size=tuple(self._size), mode="bilinear", align_corners=False)
        values = (resized - self._mean) / self._std
        return {"pixel_values": values, "pixel_mask": torch.ones((1, *self._size), dtype=torch.int64)}
