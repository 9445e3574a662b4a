"""Export with a gate: the file is compared with the reference before it gets its name."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vitpose.core.errors import UsageError, VitPoseError, nearest
from vitpose.core.extras import require
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Crops
from vitpose.engines.description import ENTRY, KEYPOINTS, SCORES, Description
from vitpose.engines.eager import EagerEngine
from vitpose.engines.gate import Found, Limits, Report, compare, excess, find, judge
from vitpose.engines.graph import describe, single, write_onnx
from vitpose.engines.onnxruntime import OnnxRuntimeEngine
from vitpose.engines.openvino import OpenVinoEngine, read_graph
from vitpose.engines.quantize import quantize_graph
from vitpose.models.pose import VitPose

_log = logging.getLogger(__name__)

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to export.

    Attributes:
        to: ``onnx`` (one file for ONNX Runtime; OpenVINO reads it, too) or ``openvino`` (``.xml`` and ``.bin``).
        precision: ``fp32``; ``fp16`` (half the file); ``bf16`` (OpenVINO: weights as they are, arithmetic in bf16);
            ``int8`` (a quarter of the arithmetic's cost where the CPU has VNNI).
        end_to_end: decoding is part of the graph, which then also gives keypoints in crop pixels and scores.
    """

    to: Literal["onnx", "openvino"] = "onnx"
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    end_to_end: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be made.

        Raises:
            UsageError: an unknown format or precision, or bf16 as ONNX.
        """
        for value, known in ((self.to, tuple(SUFFIXES)), (self.precision, PRECISIONS)):
            if value not in known:
                raise UsageError(f"cannot export to {value!r}{nearest(str(value), known)}")
        if self.to == "onnx" and self.precision == "bf16":
            raise UsageError(
                "ONNX Runtime has no bf16 arithmetic on CPUs: export to openvino for bf16, or to onnx as fp32 or int8"
            )

    def place(self, path: Path) -> Path:
        """Return where a model goes that is to be written to ``path``: the suffix is added where there is none.

        Raises:
            UsageError: another suffix than the format's.
        """
        suffix = SUFFIXES[self.to]
        if not path.suffix:
            return path.with_suffix(suffix)
        if path.suffix.lower() != suffix:
            raise UsageError(f"a model for {self.to} goes into a file that ends in {suffix}, not {path.name}")
        return path


def export(
    model: VitPose,
    path: str | Path,
    *,
    skeleton: Skeleton,
    crops: Crops,
    target: Target | None = None,
    dataset: str | None = None,
    limits: Limits | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> Report:
    """Write a model for another runtime, if that one finds the same keypoints.

    Args:
        model: any; of several heads and experts those of ``dataset`` are kept.
        path: ends in ``.onnx`` or ``.xml``; the suffix is added where there is none.
        skeleton: of ``dataset``.
        crops: ``(people, height, width, 3)`` uint8 of real people, for the gate. int8 is fitted to the first half and
            checked on the second.
        target: format, precision and whether decoding is part of the graph.
        dataset: which head; the first by default.
        limits: of the gate.
        calibration: what the checkpoint's metadata say about the head's scores, to travel with the file.

    Returns:
        the comparison with the reference, PyTorch in fp32.

    Raises:
        GateError: the keypoints are too far from the reference's; no file is left.
        UsageError: no crops, a suffix that does not fit, or a combination that cannot be made.
        MissingExtraError: a package is not installed.
    """
    target, limits = target or Target(), limits or Limits()
    place = target.place(Path(path))
    if not len(crops):
        raise UsageError("an export is checked on crops of real people: give pictures with people in them")
    if target.precision == "int8" and len(crops) < 2:
        raise UsageError("int8 is fitted to one half of the people and checked on the other: give pictures of more")
    dense = single(model, dataset)
    reference = EagerEngine(dense, device="cpu", dtype="fp32")
    words = describe(dense, skeleton, precision=target.precision, end_to_end=target.end_to_end)
    words = replace(words, calibration=calibration)
    # int8 is fitted to people, so others judge it.
    own = len(crops) // 2 if target.precision == "int8" else 0
    both = find(reference, crops, words.codec)
    fitted, expected = Found(both.xy[:own], both.scores[:own]), Found(both.xy[own:], both.scores[own:])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".part-") as folder:
            draft = Path(folder) / place.name
            note = _write(dense, draft, words, _scorer(fitted, reference, words, limits), crops[:own])
            report = replace(_judge(draft, reference, expected, crops[own:], limits), note=note)
            _log.info("%s", report.summary)
            report.check()
            # The small file last: whoever sees it sees all of it.
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == place.name):
                file.replace(place.with_name(file.name))
    except OSError as error:
        raise VitPoseError(f"cannot write {place}: {error.strerror or error}; no half of it was left") from error
    return report


def is_exported(path: str | Path) -> bool:
    """Return whether a name is that of an exported file."""
    return Path(path).suffix.lower() in SUFFIXES.values()


def open_exported(
    path: str | Path, *, engine: str = "auto", device: str = "cpu", threads: int | None = None
) -> OnnxRuntimeEngine | OpenVinoEngine:
    """Return the engine for an exported file.

    Args:
        path: written by ``export``.
        engine: ``auto`` is ONNX Runtime for ``.onnx`` and OpenVINO for ``.xml``; ``openvino`` runs both, with
            ``-fp32``, ``-bf16`` or ``-fp16`` in another precision than the file's.
        device: ``cpu`` or ``cuda``.
        threads: for one call; the cores there are by default.

    Raises:
        UsageError: another suffix, or an engine that does not run such a file.
        WeightsError: not a file of ours.
    """
    suffix = Path(path).suffix.lower()
    kind, _, precision = str(engine).partition("-")
    if (kind in ("auto", "openvino") and suffix == ".xml") or (kind == "openvino" and suffix == ".onnx"):
        if device.partition(":")[0] != "cpu":
            raise UsageError(f"OpenVINO runs {path} on the CPU, not on {device!r}")
        return OpenVinoEngine(path, precision=precision or None, threads=threads)
    if kind in ("auto", "onnxruntime") and suffix == ".onnx":
        return OnnxRuntimeEngine(path, device=device, threads=threads)
    if not is_exported(path):
        raise UsageError(f"{path} is no exported model: those end in {' or '.join(SUFFIXES.values())}")
    raise UsageError(f"engine {engine!r} does not run {path}: leave the engine out, or take 'openvino'")


def _scorer(
    expected: Found, reference: EagerEngine, words: Description, limits: Limits
) -> Callable[[NDArray[np.float32], int], float]:
    """Return what tells how near the limits heatmaps of the first crops are."""

    def score(heatmaps: NDArray[np.float32], count: int) -> float:
        xy, scores = words.codec.decode(torch.from_numpy(heatmaps), reference.input_size)
        found = Found(xy.numpy().astype(np.float64), scores.numpy().astype(np.float64))
        part = Found(expected.xy[:count], expected.scores[:count])
        sizes = (reference.input_size, reference.heatmap_size)
        report = judge(part, found, ("int8", reference.name), sizes=sizes, skeleton=words.skeleton, limits=limits)
        return excess(report, limits)

    return score


def _write(
    model: VitPose,
    draft: Path,
    words: Description,
    score: Callable[[NDArray[np.float32], int], float],
    crops: Crops,
) -> str:
    """Write the file and what lies beside it; return what is to be said about it."""
    note = ""
    if draft.suffix == ".xml":
        openvino: Any = require("openvino", "openvino", "exporting to OpenVINO")
        with tempfile.TemporaryDirectory() as folder:
            step = Path(folder) / "model.onnx"
            write_onnx(model, step, words)
            graph = read_graph(openvino, step)
            if words.precision == "int8":
                found = quantize_graph(graph, crops, score)
                graph, note = found.graph, found.note
                words = replace(words, kept=found.kept, rest=found.rest)
            graph.set_rt_info(words.to_json(), [ENTRY])
            openvino.save_model(graph, str(draft), compress_to_fp16=words.precision == "fp16")
        return note
    if words.precision == "int8":
        onnx: Any = require("onnx", "onnx", "exporting to ONNX")
        write_onnx(model, draft, words)
        found = quantize_graph(onnx.load(str(draft)), crops, score)
        for beside in draft.parent.iterdir():  # the weights of a large graph, which are int8 in the file now
            if beside != draft:
                beside.unlink()
        onnx.helper.set_model_props(found.graph, {ENTRY: replace(words, kept=found.kept, rest=found.rest).to_json()})
        onnx.save(found.graph, str(draft))
        return found.note
    write_onnx(single(model).half() if words.precision == "fp16" else model, draft, words)
    return note


def _judge(draft: Path, reference: EagerEngine, expected: Found, crops: Crops, limits: Limits) -> Report:
    """Run the file as its user will, decoding in the graph included, and compare."""
    engine = open_exported(draft)
    words = engine.description
    try:
        if not words.end_to_end:
            return compare(reference, engine, crops, skeleton=words.skeleton, codec=words.codec, limits=limits)
        parts = [engine.outputs(crops[start : start + 16], [KEYPOINTS, SCORES]) for start in range(0, len(crops), 16)]
        found = Found(*(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True)))
        sizes = (reference.input_size, reference.heatmap_size)
        names = (engine.name, reference.name)
        return judge(expected, found, names, sizes=sizes, skeleton=words.skeleton, limits=limits)
    finally:
        engine.close()
