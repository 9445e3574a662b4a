"""What this installation consists of: versions, processors, engines, optional parts, and where things are kept."""

import importlib.metadata
import importlib.util
import platform
from pathlib import Path
from typing import Any

import torch

from vitpose._version import __version__
from vitpose.core.errors import UsageError
from vitpose.engines.auto import ENOUGH
from vitpose.engines.choose import candidates, remembered
from vitpose.engines.compiled import check_compiler
from vitpose.engines.files import cache_folder
from vitpose.engines.processor import instructions, processor_name
from vitpose.engines.threads import usable_cores
from vitpose.weights.catalog import hub_cache, weights_cache

EXTRAS = {
    "train": ("accelerate", "faster_coco_eval", "tensorboard", "scipy", "matplotlib"),
    "video": ("av", "scipy", "matplotlib"),
    "trackers": ("trackers",),
    "supervision": ("supervision",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "int8": ("onnx", "onnxscript", "openvino", "nncf"),
}
"""The modules each extra brings that something of ours imports."""

_PURPOSES = {
    "train": "training and evaluation",
    "video": "films",
    "trackers": "other trackers, to compare with",
    "supervision": "handing poses on to supervision",
    "onnx": "exporting to ONNX",
    "openvino": "exporting to OpenVINO",
    "int8": "exporting as int8",
}

_PACKAGES = (
    "torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "huggingface-hub", "transformers",
    "supervision", "pydantic", "pyarrow",
)  # fmt: skip


def installation() -> dict[str, Any]:
    """Return what this installation consists of, as plain data: numbers and texts by title and name."""
    return {
        "vitpose": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "processor": {
            "name": processor_name(),
            "threads": usable_cores(),
            "instructions": " ".join(instructions()) or "not listed by this system",
        },
        "engines": _engines(),
        "chosen": {name: choice.summary for name, choice in remembered()},
        "extras": {extra: _extra(extra) for extra in EXTRAS},
        "caches": _caches(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed under this name"


def _devices() -> dict[str, str]:
    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            devices[f"cuda:{index}"] = f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "available"
    return devices


def _engines() -> dict[str, str]:
    """Say for each engine whether it runs here, and else what it lacks."""
    worth = candidates()
    found = {
        "auto": f"{worth[0]}; after {ENOUGH} people the fastest that agrees, of {', '.join(worth)}",
        "eager": "ready",
        "compiled": _compiled(),
        "onnxruntime": _extra("onnx"),
        "openvino": _extra("openvino"),
    }
    return {name: "ready" if state.startswith("installed") else state for name, state in found.items()}


def _compiled() -> str:
    try:
        check_compiler(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    except UsageError as error:
        return str(error)
    return "ready"


def _extra(extra: str) -> str:
    missing = [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]
    if missing:
        return f"lacks {', '.join(missing)} ({_PURPOSES[extra]}): pip install 'vitpose[{extra}]'"
    return f"installed ({_PURPOSES[extra]})"


def _caches() -> dict[str, str]:
    """Say where what was downloaded or made is kept, and how large it is."""
    places = {
        "engines and choices": cache_folder(),
        "weights from addresses": weights_cache(),
        "weights from hub": hub_cache(),
    }
    return {name: f"{path}, {_size(path)}" for name, path in places.items()}


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "not there yet"
    # Files only: the hub's cache names every file a second time, with a link.
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{sum(path.stat().st_size for path in files) / 2**20:.0f} MiB"
