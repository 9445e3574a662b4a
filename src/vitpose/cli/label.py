"""``vitpose label``: pictures that nobody has labelled in, labels a model is sure of out."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from vitpose.cli.progress import Steps, count
from vitpose.core.errors import InputError, UsageError


def label(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures, folders, globs, .txt lists of pictures.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name from `vitpose models`, hub id, file or folder.")
    ] = "auto",
    dataset: Annotated[str | None, typer.Option(help="Head of a model with several.")] = None,
    detector: Annotated[
        str, typer.Option(help="auto, whole (the picture is the box), or a Hugging Face detector's id or folder.")
    ] = "auto",
    classes: Annotated[str | None, typer.Option(help="What to look for, for instance dog,horse,cow.")] = None,
    score: Annotated[
        float, typer.Option(min=0, max=1, help="Score a keypoint needs, in the picture and in its mirror image.")
    ] = 0.5,
    agreement: Annotated[
        float,
        typer.Option(min=0, help="How far the two may lie apart, as a part of the square root of the box's area."),
    ] = 0.05,
    box_score: Annotated[float, typer.Option(min=0, max=1, help="Score a box needs.")] = 0.5,
    keypoints: Annotated[int, typer.Option(min=1, help="Keypoints a person needs to be kept.")] = 5,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take sub-folders too.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, eager, compiled, onnxruntime, openvino.")] = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="The COCO JSON to write; it must not be there yet.")] = Path(
        "labels.json"
    ),
) -> None:
    """Label pictures with a model: a COCO JSON to correct in a labelling tool, or to train on as it is.

    Every picture is looked at twice, as it is and mirrored; a keypoint is labelled where both are sure and agree.
    """
    # First of all, for loading takes seconds: a container that is stopped keeps what is finished, and says 130.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if out.exists():
        raise UsageError(f"{out} is there already and may hold work of yours: give another name with --out")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"the folder of {out} is not there: make it first")
    # Slow imports come after the arguments are known to be sound.
    from vitpose.core.files import check_place

    check_place(out)
    from vitpose.pipeline.assemble import load
    from vitpose.training.pseudo import Trust, make_labels

    estimator = load(
        model,
        dataset=dataset,
        detector=detector,
        classes=[name.strip() for name in classes.split(",")] if classes else None,
        device=device,
        engine=engine,
        box_threshold=min(box_score, 0.3),
    )
    missed: list[str] = []

    def pass_over(source: str, error: InputError) -> None:
        missed.append(source)
        typer.echo(f"failed: {error}", err=True)

    try:
        with Steps("pictures") as steps:
            made = make_labels(
                estimator,
                list(sources),
                out,
                trust=Trust(score=score, distance_norm=agreement, box_score=box_score, keypoints=keypoints),
                recursive=recursive,
                passed_over=pass_over,
                looked_at=steps.at,
            )
    except KeyboardInterrupt:
        kept = f"the labels made until then are in {out}" if out.exists() else "no picture was finished until then"
        typer.echo(f"interrupted: {kept}", err=True)
        raise typer.Exit(130) from None
    labelled = sum(record.labelled for record in made.records)
    done = f"{count(len(made.images), 'picture')}, {count(len(made), 'labelled person', 'labelled people')}"
    typer.echo(f"{done}, {count(labelled, 'keypoint')} -> {out}", err=True)
    if not made.records:
        typer.echo("nobody passed: lower --score or --keypoints, or widen --agreement", err=True)
    if missed:
        typer.echo(f"{len(missed)} failed, named above", err=True)
        raise typer.Exit(4)
