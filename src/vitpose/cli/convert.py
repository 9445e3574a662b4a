"""``vitpose convert``: weights from any published layout to our own format or that of transformers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from vitpose.cli.places import refuse_foreign, refuse_inputs


def convert(
    source: Annotated[
        str, typer.Argument(help="Name from `vitpose models`, hub id, file or folder.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Argument(help="A .safetensors file, or a folder with --to huggingface.", show_default=False)
    ],
    to: Annotated[str, typer.Option(help="vitpose or huggingface.")] = "vitpose",
    dataset: Annotated[
        str | None, typer.Option(help="What a single head was trained on where the file does not say; else which head.")
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="Keep that head only, its expert merged in: a dense model, same heatmaps.")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size.")] = False,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton name or .toml file, where the weights do not say.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON on stdout.")] = False,
) -> None:
    """Convert weights; prints the path of what was written."""
    from vitpose.weights.convert import convert_checkpoint

    _check_target(source, out.expanduser(), to)
    done = convert_checkpoint(source, out, to=to, dataset=dataset, fold=fold, half=half, skeleton=skeleton)
    for note in done.notes:
        typer.echo(note, err=True)
    typer.echo(json.dumps(done.to_dict(), indent=2, ensure_ascii=False) if as_json else str(done.path))


def _check_target(source: str, out: Path, to: str) -> None:
    """Refuse to write over the source, or over weights that converting did not make: a training's take days."""
    if to != "huggingface":
        refuse_inputs({"the target": out}, [source])
        refuse_foreign(out, _is_converted, "convert")
        return
    from vitpose.weights.huggingface import CONFIG, PREPROCESSOR, WEIGHTS

    files = [out / name for name in (CONFIG, WEIGHTS, PREPROCESSOR)]
    refuse_inputs({"the target": out} | {f"the target's {file.name}": file for file in files}, [source])
    for file in files:
        refuse_foreign(file, lambda file: _is_our_config(file.with_name(CONFIG)), "convert")


def _is_converted(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    from vitpose.weights.checkpoint import ENTRY

    try:
        with safe_open(path, "numpy") as file:
            return "converted_from" in json.loads((file.metadata() or {})[ENTRY])["metadata"]
    except (SafetensorError, ValueError, KeyError, TypeError):
        return False


def _is_our_config(path: Path) -> bool:
    """Whether we wrote a configuration: transformers keeps our entry when it writes one, but adds its version."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(found, dict) and "vitpose" in found and "transformers_version" not in found
