"""``vitpose bench``: how fast a model is on this machine, beside what people would otherwise use."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vitpose.cli.places import refuse_inputs
from vitpose.core.errors import UsageError, nearest


def bench(
    model: Annotated[
        str, typer.Argument(help="Name from `vitpose models`, hub id, file or folder, random:NAME.", show_default=False)
    ],
    engines: Annotated[
        str,
        typer.Option(help="Names with commas, for instance eager-fp32,openvino-bf16; all that run here by default."),
    ] = "",
    people: Annotated[str, typer.Option(help="People a picture, with commas.")] = "1,8",
    against: Annotated[str, typer.Option(help="transformers: its documented path, same weights, same run.")] = "",
    dataset: Annotated[str | None, typer.Option(help="Head of a model with several, for instance ap10k.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Turns; the median counts.")] = 5,
    price: Annotated[float, typer.Option(min=0, help="Price of an hour on this machine, for the cost column.")] = 0.0,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="Pictures of people: also choose what engine=auto uses from now on; repeatable."),
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="With --choose: boxes from a file instead of a detector.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for all numbers, JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON on stdout.")] = False,
) -> None:
    """Measure engines by number of people: stages, people a second, memory, and the share of the hardware's limit."""
    if against not in ("", "transformers"):
        raise UsageError(f"cannot compare with {against!r}{nearest(against, ['transformers'])}")
    counts = _numbers(people)
    refuse_inputs({"--out": out}, [model, boxes, *(choose or ())])
    # Slow imports come after the arguments are known to be sound.
    from vitpose.core.files import atomic_write_text
    from vitpose.engines.choose import candidates, machine
    from vitpose.pipeline.assemble import find_model
    from vitpose.pipeline.bench import Settings
    from vitpose.pipeline.bench import bench as measure

    loaded = find_model(model, dataset, None)
    head = loaded.model.spec.head(dataset)
    names = tuple(name.strip() for name in engines.split(",") if name.strip()) or candidates(device)
    settings = Settings(
        engines=names,
        batches=counts,
        repeats=repeats,
        device=device,
        transformers=against == "transformers",
        price=price,
    )
    found = measure(loaded.model, loaded.skeletons[head.dataset], settings, dataset=head.dataset)
    document = {"machine": machine(), **found}
    if choose:
        document["choice"] = _choose(loaded, head.dataset, choose, boxes, device)
    text = json.dumps(document, indent=1)
    if out is not None:
        atomic_write_text(out, text + "\n")
    if as_json:
        typer.echo(text)
        return
    for line in _table(found["rows"]):
        typer.echo(line)
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in found["matmul_peak_gflops"].items())
    typer.echo(f"largest matrix products measured here, GFLOP/s: {peaks}")
    typer.echo(f"memory at most: {found['peak_memory_mib']:.0f} MiB")
    if choose:
        typer.echo(f"engine=auto uses {document['choice']['name']} from now on")


def _choose(loaded: Any, dataset: str, pictures: list[str], boxes: Path | None, device: str) -> dict[str, Any]:
    """Choose an engine on real people and remember it."""
    from dataclasses import asdict

    from vitpose.detectors.given import GivenBoxes
    from vitpose.engines.choose import choose_engine
    from vitpose.pipeline.assemble import Search, make_detector
    from vitpose.pipeline.crops import collect_crops

    spec = loaded.model.spec
    given = None if boxes is None else GivenBoxes.from_file(boxes)
    finder = None if given is not None else make_detector("auto", Search(), device=device, dataset=dataset)
    crops = collect_crops(pictures, spec.head(dataset), spec.input_size, given=given, detector=finder, limit=64)
    choice = choose_engine(
        loaded.model,
        crops,
        skeleton=loaded.skeletons[dataset],
        dataset=dataset,
        device=device,
        digest=loaded.sha256,
    )
    typer.echo(choice.summary, err=True)
    return asdict(choice)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--people takes whole numbers from 1 up with commas between, not {text!r}")
    return numbers


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'engine':24}{'people':>7}{'ms/person':>11}{'model':>9}{'people/s':>10}{'of peak':>9}{'faster':>8}"]
    for row in rows:
        share = f"{100 * row['fraction_of_peak']:.0f} %" if "fraction_of_peak" in row else ""
        faster = f"{row['times_faster']['picture_to_keypoints']:.1f}x" if "times_faster" in row else ""
        times = row["ms_a_person"]
        lines.append(
            f"{row['engine']:24}{row['people']:>7}{times['total']:>11.2f}{times['model']:>9.2f}"
            f"{row['people_a_second']:>10.1f}{share:>9}{faster:>8}"
        )
    return lines
