"""``vitpose train``: a recipe, a settings file, or fine-tuning on a folder."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitpose.cli.alternative import embedded_instead
from vitpose.core.errors import UsageError

if TYPE_CHECKING:
    from vitpose.training.config import RunConfig
    from vitpose.training.finetune import Plan

FINETUNE = "finetune"

_START = "vitpose-b"
"""What fine-tuning starts from where nothing is said."""

_RECIPE = typer.Argument(
    help="A recipe (see --list), a .toml file, or `finetune` for your own pictures.", show_default=False
)


def train(
    recipe: Annotated[str | None, _RECIPE] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: optim.lr=3e-4; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data: of a recipe's sets (data.root), or of your pictures.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Weights to start from; for finetune vitpose-b by default.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="finetune: the COCO JSON, if the folder has several.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder, or start it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on although the settings have changed.")] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave the accelerator alone.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the resolved settings as TOML and stop.")] = False,
) -> None:
    """Train a model: by a recipe of the papers, by your own settings, or on your own pictures.

    `accelerate launch -m vitpose train RECIPE` uses several devices.
    """
    if list_:
        _list()
        return
    if recipe is None:
        raise UsageError("name a recipe (vitpose train --list), a .toml file, or `finetune`")
    folder = out or Path("runs") / (FINETUNE if recipe == FINETUNE else Path(recipe).stem)
    plan: Plan | None = None
    if recipe == FINETUNE:
        plan = _planned(data, model, annotations, folder, tuple(change or ()))
        config = plan.config
    else:
        if annotations is not None:
            raise UsageError("--annotations belongs to `vitpose train finetune`; a recipe names its own files")
        config = _configured(recipe, data, model, change or [])
    if show:
        typer.echo(config.to_toml(), nl=False)
        return
    if plan is not None:
        from vitpose.training.state import RunFolder

        RunFolder(folder).check_free(resume=resume)
        plan.write_skeleton()
    _run(config, folder, resume=resume, force=force, cpu=cpu)


def _list() -> None:
    from vitpose.training.recipe import recipe_purpose, recipes

    names = recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:{width}}  {recipe_purpose(name)}")


def _configured(recipe: str, data: Path | None, model: str | None, changes: list[str]) -> "RunConfig":
    from vitpose.training.recipe import load_config

    given = [] if data is None else [f"data.root={_quoted(str(data))}"]
    given += [] if model is None else [f"model.start={_quoted(model)}"]
    return load_config(recipe, [*given, *changes])


def _planned(
    data: Path | None, model: str | None, annotations: Path | None, out: Path, changes: tuple[str, ...]
) -> "Plan":
    from vitpose.training.finetune import plan_finetuning

    if data is None:
        raise UsageError("finetune needs --data FOLDER with pictures and a COCO JSON")
    with embedded_instead(_START) if model is None else nullcontext():
        plan = plan_finetuning(data, out, model=model or _START, annotations=annotations, changes=changes)
    for note in plan.notes:
        typer.echo(note, err=True)
    return plan


def _run(config: "RunConfig", out: Path, *, resume: bool, force: bool, cpu: bool) -> None:
    from vitpose.training.finish import finish
    from vitpose.training.logs import make_display
    from vitpose.training.material import validation_sets
    from vitpose.training.run import train as train_run

    outcome = train_run(config, out, resume=resume, force=force, display=make_display(sys.stderr), cpu=cpu)
    interrupted = outcome.ending == "interrupted"
    if int(os.environ.get("RANK", "0")) == 0:  # with several processes the first one reports
        score = outcome.progress.best_score
        best = "" if score is None else f", best score {score:.4f} at step {outcome.progress.best_step}"
        typer.echo(f"{outcome.ending} at step {outcome.progress.step}{best} -> {out}/", err=True)
        page = None if interrupted else finish(config, out, validation_sets(config), cpu=cpu)
        if page is not None:
            typer.echo(f"report: {page}", err=True)
    if interrupted:
        typer.echo("go on with --resume", err=True)
        raise typer.Exit(130)


def _quoted(text: str) -> str:
    """Return text as a value of ``--set``, which is TOML: its strings take no halves of characters, as JSON's do."""
    from vitpose.training.settings import dump_toml

    return dump_toml({"text": text}).strip().removeprefix("text = ")
