"""``vitpose convert``: weights from any published layout to our own format or that of transformers."""

import json
from pathlib import Path
from typing import Annotated

import typer


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

    done = convert_checkpoint(source, out, to=to, dataset=dataset, fold=fold, half=half, skeleton=skeleton)
    for note in done.notes:
        typer.echo(note, err=True)
    typer.echo(json.dumps(done.to_dict(), indent=2, ensure_ascii=False) if as_json else str(done.path))
