"""``vitpose export``: a model for ONNX Runtime or OpenVINO, checked against PyTorch before it is written."""

import json
import mmap
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from vitpose.cli.places import refuse_foreign, refuse_inputs


def export(
    model: Annotated[
        str, typer.Argument(help="Name from `vitpose models`, hub id, file or folder, random:NAME.", show_default=False)
    ],
    images: Annotated[
        list[str], typer.Option("--images", "-i", help="Pictures of people for the check (and for int8); repeatable.")
    ],
    to: Annotated[str, typer.Option(help="onnx or openvino.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 (openvino), int8.")] = "fp32",
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Put decoding into the graph: crops to keypoints and scores.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; the model's name by default.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Head of a model with several, for instance ap10k.")] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton name or .toml file, where the weights do not say.")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="auto, whole (the picture is the box), embedded, or a Hugging Face detector's id or folder."),
    ] = "auto",
    boxes: Annotated[Path | None, typer.Option(help="Boxes from a file instead of a detector.")] = None,
    crops: Annotated[
        int | None,
        typer.Option(min=1, help="People to look at most: 128 by default; 256 for int8, which is fitted to half."),
    ] = None,
    max_shift: Annotated[
        float, typer.Option(help="Limit on the 99th percentile of the keypoints' shift, in heatmap pixels.")
    ] = 1.0,
    max_oks_drop: Annotated[float, typer.Option(help="Limit on how much the similarity of poses may fall.")] = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON on stdout.")] = False,
) -> None:
    """Export a model; nothing is written when its keypoints are too far from PyTorch's (exit code 6)."""
    from vitpose.core.files import check_place
    from vitpose.detectors.given import GivenBoxes
    from vitpose.engines.export import SUFFIXES, Target
    from vitpose.engines.export import export as write
    from vitpose.engines.gate import Limits
    from vitpose.pipeline.assemble import Search, find_model, make_detector
    from vitpose.pipeline.crops import collect_crops
    from vitpose.pipeline.probabilities import CALIBRATION

    target = Target(to=cast(Any, to), precision=cast(Any, precision), end_to_end=end_to_end)
    loaded = find_model(model, dataset, skeleton)
    head = loaded.model.spec.head(dataset)
    given = None if boxes is None else GivenBoxes.from_file(boxes)
    finder = None if given is not None else make_detector(detector, Search(), device="auto", dataset=head.dataset)
    default = 256 if precision == "int8" else 128
    name = f"{loaded.name.rpartition('/')[2].replace(':', '-')}-{head.dataset}{SUFFIXES[target.to]}"
    place = target.place(out or Path(name))
    check_place(place)  # people are looked for only when the model can be written
    _check_target(place, [model, boxes, *images])
    people = collect_crops(
        images,
        head,
        loaded.model.spec.input_size,
        given=given,
        detector=finder,
        limit=crops or default,
        missed=lambda message: typer.echo(f"passed over: {message}", err=True),
    )
    report = write(
        loaded.model,
        place,
        skeleton=loaded.skeletons[head.dataset],
        crops=people,
        target=target,
        dataset=head.dataset,
        limits=Limits(p99=max_shift, oks=max_oks_drop),
        calibration=loaded.metadata.get(CALIBRATION, {}).get(head.dataset),
    )
    typer.echo(report.summary, err=True)
    typer.echo(json.dumps({"path": str(place), **report.to_dict()}, indent=2) if as_json else str(place))


def _check_target(place: Path, inputs: list[str | Path | None]) -> None:
    """Refuse to write over what is read or over a file, or its weights, that no export wrote."""
    weights = place.with_suffix(".bin") if place.suffix == ".xml" else place.with_name(f"{place.name}.data")
    refuse_inputs({"--out": place, "the weights beside --out,": weights}, inputs)
    refuse_foreign(place, _is_exported, "export")
    refuse_foreign(weights, lambda _: _is_exported(place), "export")


def _is_exported(path: Path) -> bool:
    """Whether a file holds the description that every export has, be it ONNX's bytes or OpenVINO's XML."""
    from vitpose.engines.description import SCHEMA

    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(SCHEMA.encode()) >= 0
