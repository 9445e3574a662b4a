"""Write the tables of ``docs/speed.md`` from ``benchmarks/results``: ``python docs/generate_speed.py``.

What was not measured says how to measure it. Multiply-accumulates are counted here, not read.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.cost import count_macs
from vitpose.models.variants import ModelSpec, published_spec

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
MARKED = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", re.DOTALL)

PAPER = {
    "full": ("full", None, 76.59, 77.4),
    "window 8x8": ("window", Size(8, 8), 66.31, 66.4),
    "shifted 8x8": ("shifted", Size(8, 8), 66.31, 76.4),
    "pooled 8x8": ("pooled", Size(8, 8), 66.39, 76.4),
    "shifted+pooled 8x8": ("shifted+pooled", Size(8, 8), 66.39, 76.8),
    "shifted+pooled 16x12": ("shifted+pooled", Size(16, 12), 68.52, 77.1),
}
"""Kind of attention and window at stride 8, and what the paper gives: GMAC of the backbone, COCO AP."""

SIZES = {"256x192": (Size(256, 192), 75.8), "384x288": (Size(384, 288), 76.9), "576x432": (Size(576, 432), 77.8)}
"""Input sizes at stride 16, and the paper's COCO AP."""


def read(name: str) -> dict[str, Any] | None:
    """Return what was measured, if it was."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table(titles: str, rows: list[list[str]]) -> str:
    """Return a Markdown table; ``titles`` are separated by ``|``."""
    names = titles.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def source(found: dict[str, Any]) -> str:
    """Say where and when, below a table."""
    # Where the data lay on the machine that measured is nobody else's business.
    command = re.sub(r"\S*shared/data", "DATA", found["command"])
    version = f"`{command}`, {found['date']}, commit {found['commit']}"
    return f"\n\n{found['machine']['cpu']}; {version}."


def measured(name: str, script: str, show: Callable[[dict[str, Any]], str]) -> str:
    """Return the table of a result, or how to get it."""
    found = read(name)
    if found is None:
        return f"Not measured yet: `python benchmarks/{script}` writes `results/{name}.json`."
    return show(found["result"]) + source(found)


def engines(result: dict[str, Any]) -> str:
    """One row an engine and number of people."""
    rows = []
    for row in result["rows"]:
        ratio = row.get("times_faster", {}).get("crops_to_keypoints")
        share = row.get("fraction_of_peak")
        rows.append(
            [
                row["engine"],
                str(row["people"]),
                f"{row['ms_a_person']['total']:.1f}",
                f"{row['ms_a_person']['model']:.1f}",
                "" if share is None else f"{share:.0%}",
                "" if ratio is None else f"{ratio:.2f}",
            ]
        )
    return table("engine|people|ms a person|of it the model|of the largest matrix product|times faster", rows)


def picture(result: dict[str, Any]) -> str:
    """One row a side, stages side by side."""
    rows = []
    for name, stages in result["milliseconds_by_stage"].items():
        ratio = result["times_faster"].get(name)
        mark = " (what `auto` stands for)" if name == result["auto"] else ""
        cells = [f"{stages[stage]:.1f}" for stage in ("read", "model", "around", "write", "total")]
        rows.append([f"{name}{mark}", *cells, "" if ratio is None else f"{ratio['median']:.2f}"])
    return table("engine|read|model|crops and decoding|write|ms in all|times faster", rows)


def embedded(result: dict[str, Any]) -> str:
    """One row a model and engine, fastest first."""
    rows = []
    for name, ms in sorted(result["ms"].items(), key=lambda pair: pair[1]):
        share = result["share"].get(name)
        rows.append([name, f"{ms:.2f}", "1" if share is None else f"1/{1 / share['median']:.0f}"])
    return table("model, size, engine|ms a person|of the time of ViTPose-B in transformers", rows)


def processing(result: dict[str, Any]) -> str:
    """One row a part."""
    rows = [[name, f"{ms:.3f}"] for name, ms in result["ms_per_person"].items()]
    ratio, whole = result["ratio"]["median"], result["ratio_with_normalisation"]["median"]
    said = f"\n\nOurs is {ratio:.1f} times as fast, {whole:.1f} times with normalisation counted in."
    return table("part|ms a person", rows) + said


def growth(result: dict[str, Any]) -> str:
    """One row a number of people."""
    rows = [[str(row["people"]), f"{row['more_memory_mib']:.0f}"] for row in result["rows"]]
    return table("people in the picture|more memory, MiB", rows)


def many(result: dict[str, Any]) -> str:
    """The run and its stages, then memory."""
    rows = [
        [name, f"{times['clock_s']:.2f}", f"{times['processor_s']:.2f}"] for name, times in result["seconds"].items()
    ]
    memory = ", ".join(f"{mib:.0f} MiB ({case})" for case, mib in result["more_memory_mib"].items())
    said = (
        f"\n\n{result['model']} with {result['engine']}: the run reaches {result['fraction_of_slowest']:.0%} of its"
        f" slowest stage alone ({result['slowest']}), and the model has"
        f" {result['model_share_of_processor_time']:.0%} of the processor time. Memory grows by {memory}."
    )
    return table("stage|seconds|of the processor", rows) + said


def startup(result: dict[str, Any]) -> str:
    """One row a command."""
    rows = [[name, f"{row['median_s']:.3f}"] for name, row in result.items() if "median_s" in row]
    return table("what|seconds", rows)


def gmacs(**parts: Any) -> float:
    """Return the backbone's GMAC of ViTPose-B with parts of it changed."""
    spec: ModelSpec = published_spec("vitpose-b")
    size = parts.pop("input_size", spec.input_size)
    return count_macs(replace(spec, backbone=replace(spec.backbone, **parts), input_size=size)).backbone / 1e9


def attention() -> str:
    """Stride 8 by attention, then stride 16 by input size; time and memory where they were measured."""
    found = read("attention_cost")
    timed = {} if found is None else found["result"]["rows"]
    rows = []
    for name, (kind, window, paper, score) in PAPER.items():
        choice = {} if window is None else {"attention": alternate(kind, window, 12)}
        cells = [f"{gmacs(stride=8, **choice):.2f}", f"{paper:.2f}", f"{score:.1f}"]
        rows.append([f"256x192, stride 8, {name}", *cells, *_timed(timed, f"256x192, stride 8, {name}")])
    for name, (size, score) in SIZES.items():
        cells = [f"{gmacs(input_size=size):.2f}", "", f"{score:.1f}"]
        rows.append([f"{name}, stride 16, full", *cells, *_timed(timed, f"{name}, stride 16, full")])
    said = table("ViTPose-B|GMAC, counted|GMAC, paper|COCO AP, paper|ms a crop|memory, MiB", rows)
    return said + (
        "\n\nTime and memory: `python benchmarks/attention_cost.py` measures them." if found is None else source(found)
    )


def _timed(rows: dict[str, Any], name: str) -> list[str]:
    row = rows.get(name)
    return ["", ""] if row is None else [f"{row['ms_a_crop']:.0f}", f"{row['memory_mib']:.0f}"]


DATA = "PICTURES BOXES"
TABLES: dict[str, Callable[[], str]] = {
    "engines": lambda: measured("engines_speed_b_cpu", "engines_speed.py", engines),
    "picture": lambda: measured("picture_of_people", f"picture_of_people.py {DATA}", picture),
    "embedded": lambda: measured("embedded_speed", "embedded_speed.py", embedded),
    "processing": lambda: measured("processing_speed", "processing_speed.py", processing),
    "many": lambda: measured("many_pictures_openvino-cpu-bf16", f"many_pictures.py {DATA}", many),
    "growth": lambda: measured("growth", "growth.py", growth),
    "startup": lambda: measured("startup", "startup.py", startup),
    "attention": attention,
}


def page() -> str:
    """Return the text of the page with its tables made anew."""
    text = (DOCS / "speed.md").read_text(encoding="utf-8")
    return MARKED.sub(lambda match: f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end of table -->", text)


def main() -> None:
    """Write the page."""
    (DOCS / "speed.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
