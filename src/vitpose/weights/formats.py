"""Tensors out of a file, without running anything that is in it.

What a file is decides its content, never its suffix. Pickles are opened by ``torch.load(weights_only=True)`` alone.
"""

import argparse
import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitpose.core.errors import WeightsError

_WRAPPERS: Final = ("state_dict", "model")
"""Under which key training frameworks put the weights; the first that is there counts."""

_PARALLEL: Final = "module."
"""What ``DistributedDataParallel`` puts before every name."""

_REFUSED: Final = re.compile(r"unsupported (?:global|class|operand)|not an allowed global", re.IGNORECASE)
_ASKED_FOR: Final = re.compile(r"GLOBAL:? ([\w.]+)")


@dataclass(frozen=True, slots=True)
class RawWeights:
    """What a file holds, before anyone asks what it means.

    Attributes:
        tensors: by name, on the CPU, in the file's types.
        header: the text entries of a safetensors header.
        path: the file, or the first of several.
        sha256: of the file; of several files, of their digests one after the other.
    """

    tensors: dict[str, Tensor]
    path: Path
    sha256: str
    header: Mapping[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> RawWeights:
    """Read one file of weights.

    Raises:
        WeightsError: the file is missing, empty, a web page, a Git LFS pointer, damaged, not a file of weights, or a
            pickle that would run code.
    """
    kind = _kind(path)
    if kind == "safetensors":
        tensors, header = _read_safetensors(path)
    else:
        tensors, header = _read_torch(path), {}
    return RawWeights(tensors, path, file_sha256(path), header)


def read_shards(index: Path) -> RawWeights:
    """Read the files a ``*.safetensors.index.json`` lists.

    Raises:
        WeightsError: the index is not one, or a shard is missing or damaged.
    """
    shards = [read_weights(index.parent / name) for name in shard_names(index)]
    tensors = {name: tensor for shard in shards for name, tensor in shard.tensors.items()}
    digests = "".join(shard.sha256 for shard in shards)
    return RawWeights(tensors, index, hashlib.sha256(digests.encode()).hexdigest())


def shard_names(index: Path) -> list[str]:
    """Return the names of the files a ``*.safetensors.index.json`` lists, all in its folder.

    Raises:
        WeightsError: the index is not one.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index} is not a list of safetensors files ({error}); get the folder again") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; a file that did not change is not read again."""
    status = path.stat()
    return _sha256(str(path.resolve()), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, changed_ns: int) -> str:  # noqa: ARG001 - size and time are part of the cache key
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _kind(path: Path) -> str:
    """Return ``safetensors`` or ``torch``, by the first bytes.

    Raises:
        WeightsError: it is neither; what it seems to be is named.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(256)
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error}") from error
    text = start.lstrip().lower()
    if size == 0:
        raise WeightsError(f"{path} is empty (0 bytes): the download or copy did not finish; get the file again")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(f"{path} is a web page, not weights: the server answered with HTML; get the file again")
    if text.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights it points to: run `git lfs pull` there")
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    raise WeightsError(f"{path} is not a file of weights: it is neither safetensors nor a PyTorch checkpoint")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or cut short ({error}); get the file again") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's remarks on pickle protocols are not for users
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle may raise anything at all
        if _REFUSED.search(str(error)):
            raise WeightsError(_refusal(path, str(error))) from error
        reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise WeightsError(f"{path} is damaged or cut short ({reason}); get the file again") from error
    return _state_dict(content, path)


def _harmless() -> list[Any]:
    """Return what published files hold beside tensors: options of the run, and scores as numpy scalars.

    Making one of these runs nothing. The second name of ``scalar`` is the one numpy used before 2.0.
    """
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    return [argparse.Namespace, np.dtype, *kinds, scalar, (scalar, "numpy.core.multiarray.scalar")]


def _refusal(path: Path, reason: str) -> str:
    named = _ASKED_FOR.search(reason)
    what = f" (it asks for {named[1]})" if named else ""
    return (
        f"{path} was refused: it is a pickle that holds more than tensors{what}, and opening it could run code of"
        " whoever made it. Get it as .safetensors; or, if you trust its maker, save the tensors alone:"
        " torch.save({'state_dict': torch.load(FILE, weights_only=False)['state_dict']}, NEW_FILE)"
    )


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the named tensors in what ``torch.load`` gave, without the wrappers of training frameworks."""
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    tensors = {}
    for name, value in content.items() if isinstance(content, Mapping) else ():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path} is not a state dict: entry {name!r} is a {type(value).__name__}, not a tensor")
        tensors[name] = value
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors, so it is not a checkpoint of a model")
    if all(name.startswith(_PARALLEL) for name in tensors):
        return {name.removeprefix(_PARALLEL): tensor for name, tensor in tensors.items()}
    return tensors


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Return the first names and how many there are in all."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
