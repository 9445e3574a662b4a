"""The person detector's file: one ``.safetensors`` that says itself what it is, like the checkpoints of pose models."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from vitpose._version import __version__
from vitpose.core.errors import UsageError, WeightsError
from vitpose.core.files import atomic_path
from vitpose.models.convolutions import ConvStem
from vitpose.models.detector import DetectorSpec, PersonNet
from vitpose.weights.adapt import check_finite, check_parts, check_same, check_types, shapes_of
from vitpose.weights.catalog import packaged_file
from vitpose.weights.checkpoint import DAMAGE, ENTRY
from vitpose.weights.formats import RawWeights, read_weights
from vitpose.weights.load import load_model
from vitpose.weights.storage import to_half

SCHEMA: Final = "vitpose-detector"
VERSION: Final = 1
PACKAGED: Final = "person-detector.safetensors"
"""The file that comes with the package, in ``weights/embedded``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedDetector:
    """A detector with weights, and where they came from.

    Attributes:
        net: in evaluation mode.
        name: what the file calls itself.
        source: what it was loaded from.
        sha256: of the file.
        metadata: what was written beside the weights: how they were trained and measured.
    """

    net: PersonNet
    name: str
    source: str
    sha256: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def save_detector(
    path: str | Path, net: PersonNet, metadata: Mapping[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a detector with all it takes to use it; the file appears whole or not at all.

    Args:
        path: usually ends in ``.safetensors``.
        net: any.
        metadata: anything JSON can hold.
        half: store float16; reading casts back to float32.

    Raises:
        UsageError: metadata that JSON cannot hold.
        WeightsError: values that are not finite, or beyond float16.
        VitPoseError: the file cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    check_finite(state, f"the detector to save as {path}")
    description = {
        "schema": SCHEMA,
        "version": VERSION,
        "written_by": f"vitpose {__version__}",
        "spec": net.spec.to_dict(),
        "metadata": dict(metadata or {}),
    }
    try:
        header = {ENTRY: json.dumps(description, sort_keys=True, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise UsageError(f"saving {path}: the metadata does not go into JSON: {error}") from error
    with atomic_path(path) as temporary:
        try:
            save_file(to_half(state, str(path)) if half else state, temporary, metadata=header)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def start_detector(net: PersonNet, path: str | Path) -> None:
    """Copy what a network starts from.

    Args:
        net: changed in place.
        path: a detector of the same spec, which is copied whole; or a pose model whose convolutional stem is the first
            three stages of ``net``, which alone are copied.

    Raises:
        WeightsError: the file cannot be read, or its sizes are others.
    """
    if is_detector(path):
        pairs: list[tuple[str, nn.Module, nn.Module]] = [("detector", net, load_detector(path).net)]
    else:
        stem = load_model(Path(path)).model.backbone.patch_embed
        if not isinstance(stem, ConvStem):
            raise WeightsError(f"{path} is no detector, and its stem is no stem of convolutions: nothing to start from")
        theirs, ours = [stem.first, *stem.stages], [net.stem, *net.stages[: len(stem.stages)]]
        pairs = [(f"stem, part {number}", *pair) for number, pair in enumerate(zip(ours, theirs, strict=True), 1)]
    for what, mine, source in pairs:
        check_same(shapes_of(source.state_dict()), shapes_of(mine.state_dict()), f"{path} ({what})")
    for _, mine, source in pairs:
        mine.load_state_dict(source.state_dict())


def is_detector(path: str | Path) -> bool:
    """Say whether a file is a detector of ours, from its header alone."""
    try:
        with Path(path).open("rb") as file:
            size = min(int.from_bytes(file.read(8), "little"), Path(path).stat().st_size)
            head = file.read(size) if Path(path).suffix == ".safetensors" else b""
        return bool(json.loads(json.loads(head)["__metadata__"][ENTRY])["schema"] == SCHEMA)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, RecursionError):
        return False


def load_detector(path: str | Path) -> LoadedDetector:
    """Read a detector.

    Raises:
        WeightsError: there is no such file, it is damaged, or it is something else.
    """
    raw = read_weights(Path(path))
    spec, metadata = _described(raw)
    check_parts({"blocks": spec.blocks, "units": sum(spec.depths)}, len(raw.tensors), str(path))
    with torch.device("meta"):  # a file that does not fit is refused before memory is taken for what it says
        expected = shapes_of(PersonNet(spec).state_dict())
    check_same(shapes_of(raw.tensors), expected, str(path))
    net = PersonNet(spec)
    check_types(raw.tensors, str(path))
    state = {name: value.float() if value.is_floating_point() else value for name, value in raw.tensors.items()}
    check_finite(state, str(path))
    net.load_state_dict(state)
    return LoadedDetector(net=net.eval(), name=spec.name, source=str(path), sha256=raw.sha256, metadata=metadata)


def _described(raw: RawWeights) -> tuple[DetectorSpec, dict[str, Any]]:
    where = str(raw.path)
    if ENTRY not in raw.header:
        raise WeightsError(f"{where} is no detector of vitpose: its header does not say what it is")
    try:
        plain = json.loads(raw.header[ENTRY])
        if plain["schema"] != SCHEMA:
            raise WeightsError(f"{where} has schema {plain['schema']!r}, not {SCHEMA!r}: it is no detector of vitpose")
        if plain["version"] > VERSION:
            raise WeightsError(
                f"{where} has schema version {plain['version']}, this vitpose reads up to {VERSION}: upgrade vitpose"
            )
        return DetectorSpec.from_dict(plain["spec"], where=where), dict(plain["metadata"])
    except DAMAGE as error:
        raise WeightsError(f"the description in {where} is damaged ({error}); get the file again") from error


def packaged_detector() -> Path | None:
    """Return the detector that comes with the package, or None where this build carries none."""
    return packaged_file(PACKAGED)
