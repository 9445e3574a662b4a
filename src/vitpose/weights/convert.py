"""Any checkpoint in, our own format or that of transformers out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from vitpose.core.errors import UsageError, nearest
from vitpose.models.moe import fold_expert
from vitpose.weights.checkpoint import save_checkpoint
from vitpose.weights.huggingface import save_huggingface
from vitpose.weights.load import LoadedModel, load_model

Target = Literal["vitpose", "huggingface"]
SUFFIX: Final = ".safetensors"
_FROM: Final = "converted_from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes:
        path: the file, or the folder of transformers' layout.
        name: what the model is called.
        datasets: heads that were written, the default first.
        source: what was read.
        sha256: of what was read.
        assumptions: what the source did not say (the loader has logged it already).
        notes: what was left out or could not be taken along.
    """

    path: Path
    name: str
    datasets: tuple[str, ...]
    source: str
    sha256: str
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return asdict(self) | {"path": str(self.path)}


def convert_checkpoint(
    source: str | Path,
    out: str | Path,
    *,
    to: str = "vitpose",
    dataset: str | None = None,
    fold: bool = False,
    half: bool = False,
    skeleton: str | Path | None = None,
) -> Conversion:
    """Load a checkpoint and write it in another layout.

    Args:
        source: anything ``load_model`` takes.
        out: a ``.safetensors`` file, or a folder for transformers.
        to: ``vitpose`` or ``huggingface``.
        dataset: what the only head was trained on, where the file does not say; else the head that comes first, is
            folded, or fits the layout of transformers.
        fold: keep that head only, with its expert merged in: a dense model with the same heatmaps.
        half: store float16.
        skeleton: what the keypoints of the only head are, where the file does not say.

    Raises:
        UsageError: an unknown layout, or a file name where a folder belongs (or the other way round).
        WeightsError: the weights cannot be had or do not fit the layout.
        VitPoseError: the result cannot be written.
    """
    path = _checked_path(out, to)
    loaded = load_model(source, dataset=dataset, skeleton=skeleton)
    model = fold_expert(loaded.model) if fold else loaded.model
    first = model.spec.heads[0].dataset
    notes = list(loaded.ignored)
    if to == "huggingface":
        notes += save_huggingface(path, model, loaded.skeletons[first], half=half)
        written: tuple[str, ...] = (first,)
    else:
        written = tuple(head.dataset for head in model.spec.heads)
        save_checkpoint(path, model, loaded.skeletons, _history(loaded), half=half)
        dropped = [name for name in loaded.skeletons if name not in written]
        notes += [f"kept {first}, left out {', '.join(dropped)}"] if dropped else []
    return Conversion(
        path=path,
        name=model.spec.name,
        datasets=written,
        source=loaded.source,
        sha256=loaded.sha256,
        assumptions=loaded.assumptions,
        notes=tuple(notes),
    )


def _checked_path(out: str | Path, to: str) -> Path:
    if to not in get_args(Target):
        raise UsageError(f"unknown layout {to!r}{nearest(to, get_args(Target))}")
    path = Path(out).expanduser()
    if to == "vitpose" and (path.suffix != SUFFIX or path.is_dir()):
        raise UsageError(f"our own format is one file: end {out} in {SUFFIX}")
    if to == "huggingface" and (path.suffix == SUFFIX or path.is_file()):
        raise UsageError(f"the layout of transformers is a folder, and {out} names a file")
    return path


def _history(loaded: LoadedModel) -> dict[str, object]:
    """Return where the weights came from, on top of what they already knew about themselves.

    ``converted_from`` says what was read; where that had been converted itself, its own is in it under the same name.
    """
    history: dict[str, object] = {
        "source": loaded.source,
        "name": loaded.name,
        "sha256": loaded.sha256,
        "assumptions": list(loaded.assumptions),
        "ignored": list(loaded.ignored),
    }
    if _FROM in loaded.metadata:
        history[_FROM] = loaded.metadata[_FROM]
    return {**loaded.metadata, _FROM: history}
