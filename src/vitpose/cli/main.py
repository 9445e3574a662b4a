"""The ``vitpose`` command: one verb a module, errors to exit codes. Nothing slow is imported before it is needed."""

import logging
import os
import sys
from typing import Annotated

import typer

from vitpose._version import __version__
from vitpose.cli.bench import bench
from vitpose.cli.convert import convert
from vitpose.cli.doctor import app as doctor_app
from vitpose.cli.eval import evaluate
from vitpose.cli.export import export
from vitpose.cli.label import label
from vitpose.cli.models import models
from vitpose.cli.motion import motion
from vitpose.cli.predict import predict
from vitpose.cli.tracks import app as tracks_app
from vitpose.cli.train import train
from vitpose.core.errors import VitPoseError

app = typer.Typer(
    name="vitpose",
    help="Keypoints of people and animals in photos and videos, with ViTPose and ViTPose+.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 ok, 1 failure, 2 usage, 3 input unreadable, 4 some items failed, 5 weights not to be had,"
    " 6 below a limit that was asked for, 130 interrupted.",
)
app.command(name="predict")(predict)
app.command(name="models")(models)
app.command(name="convert")(convert)
app.command(name="label")(label)
app.command(name="train")(train)
app.command(name="eval")(evaluate)
app.command(name="motion")(motion)
app.add_typer(tracks_app)
app.add_typer(doctor_app)
app.command(name="export")(export)
app.command(name="bench")(bench)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"vitpose {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    version: Annotated[  # noqa: ARG001 - typer calls _show_version with it
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    # Which model and detector were chosen is always said.
    logging.getLogger("vitpose.weights.defaults").setLevel(logging.INFO)
    if not verbose:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # the hub's client sets its logger up when it is imported
        for noisy in ("httpx", "urllib3", "transformers", "huggingface_hub", "filelock"):
            logging.getLogger(noisy).setLevel(logging.ERROR)


def _write_unicode() -> None:
    """Write UTF-8 on stdout, whatever the locale, and let no character stop a run on either stream.

    JSON is UTF-8, and file names and labels may be in any script. File names may be any bytes, too: one that is no
    character is written with a backslash, as JSON escapes it.
    """
    for stream, encoding in ((sys.stdout, "utf-8"), (sys.stderr, None)):
        # None where the process has no such stream; others are no files, as where a program calls this one.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=encoding, errors="backslashreplace")


def main() -> None:
    """Run the command line; every error this package raises becomes one line and its exit code."""
    _write_unicode()
    try:
        app()
    except VitPoseError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read stdout has seen enough (`| head`); the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        typer.echo(f"error: {error.strerror or error}: {error.filename or 'writing to the standard output'}", err=True)
        sys.exit(1)
