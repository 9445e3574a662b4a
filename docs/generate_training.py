"""Write the tables of ``docs/training.md`` from ``benchmarks/results``; a study without results keeps no table.

python docs/generate_training.py
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGE = DOCS / "training.md"
END = "<!-- end of table -->"

Result = dict[str, Any]


def percent(value: float) -> str:
    """Return a share as percent with one digit."""
    return f"{100 * value:.1f}"


def with_spread(entry: Result) -> str:
    """Return mean and standard deviation over seeds in percent."""
    deviation = entry["deviation"]
    return percent(entry["mean"]) + ("" if deviation is None else f" ± {percent(deviation)}")


def interval(ends: list[float] | None) -> str:
    """Return an interval in percent points."""
    return "one seed" if ends is None else f"{100 * ends[0]:+.1f} … {100 * ends[1]:+.1f}"


def levers(result: Result) -> str:
    """One row a comparison: scores, difference with both intervals, verdict."""
    guess = percent(result["mean_pose"]["pck"])
    measured = (
        f"PCK at 0.2 of the torso on {result['judged']} held-out people; the median pose of the box has {guess} %."
    )
    lines = [
        f"{result['note']} {measured} Differences in points, with 95 % intervals over people and over seeds.",
        "",
        "| lever | without | with | PCK %: without | with | gain | over people | over seeds | verdict | p (Holm) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["comparisons"]:
        sides = [with_spread(result["arms"][row[side]]["pck"]) for side in ("baseline", "arm")]
        cells = (
            row["question"],
            row["baseline"],
            row["arm"],
            *sides,
            f"{100 * row['pck_difference']:+.1f}",
            interval(row["interval_over_people"]),
            interval(row["interval_over_seeds"]),
            f"**{row['verdict']}**" if row["verdict"] in ("helps", "hurts") else row["verdict"],
            "" if row.get("p_after_holm") is None else f"{row['p_after_holm']:.2g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *_costs(result)])


def _costs(result: Result) -> list[str]:
    if not result["cost"]:
        return []
    lines = ["", "| arm | memory of a step, MiB | people/s of a step |", "|---|---|---|"]
    for name, row in result["cost"].items():
        lines.append(f"| {name} | {row['memory_mib']:.0f} | {row['people_per_s']:.0f} |")
    return lines


def learning(result: Result) -> str:
    """One sentence: what the run has learned beside the guess."""
    pck, error = result["pck"], result["error"]
    return (
        f"A model of {result['model']}, from random weights, after {result['epoch']:.1f} passes over"
        f" {result['people']} people, finds {percent(pck['model'])} % of the keypoints of {result['judged']} held-out"
        f" people within 0.2 of their torso (median pose: {percent(pck['guess'])} %), at a mean distance of"
        f" {percent(error['model'])} % of the box's longer side ({percent(error['guess'])} %)."
    )


def skeletons(result: Result) -> str:
    """One row a set: error of the guess, and before and after fine-tuning from both starts."""
    lines = [
        f"Mean distance in percent of the box's longer side, started from `{result['model']}`"
        + (f" (weights `{result['weights']}`)" if "weights" in result else "")
        + (f", at most {result['bound']} steps:" if result["bound"] else ":"),
        "",
        "| set | keypoints | trained / tested on | median pose | human: before | after | random: before | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, starts in result["sets"].items():
        one = next(iter(starts.values()))
        cells = [name, str(one["keypoints"]), f"{one['training']} / {one['tested']}", f"{one['guess']['all']:.1f}"]
        for start in ("human", "random"):
            row = starts.get(start)
            cells += ["", ""] if row is None else [f"{row['before']['all']:.1f}", f"{row['after']['all']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *(line for name, starts in result["sets"].items() for line in _keypoints(name, starts))])


def _keypoints(name: str, starts: Result) -> list[str]:
    """One table a set, folded away: every keypoint's error."""
    columns = [(start, when) for start in ("human", "random") if start in starts for when in ("before", "after")]
    guess = next(iter(starts.values()))["guess"]
    titles = ["keypoint", "median pose", *(f"{start}: {when}" for start, when in columns)]
    lines = ["", f"<details><summary>{name}, keypoint by keypoint</summary>", "", f"| {' | '.join(titles)} |"]
    lines.append("|---" * len(titles) + "|")
    for keypoint in (key for key in guess if key != "all"):
        values = [starts[start][when].get(keypoint) for start, when in columns]
        shown = [f"{guess[keypoint]:.1f}", *("" if value is None else f"{value:.1f}" for value in values)]
        lines.append(f"| {keypoint} | {' | '.join(shown)} |")
    return [*lines, "", "</details>"]


def memory(result: Result) -> str:
    """One row a case: memory with activations kept and computed again."""
    lines = [
        f"On {result['device']}, {result['precision']}:",
        "",
        "| model | kept, MiB | computed again, MiB | saved | slower by |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        kept, again = row["kept"]["memory_mib"], row["computed again"]["memory_mib"]
        lines.append(f"| {name} | {kept:.0f} | {again:.0f} | {row['memory_saved']:.0%} | {row['time_added']:.0%} |")
    return "\n".join(lines)


def speed(result: Result) -> str:
    """One sentence: times faster than a plain loop."""
    pairs = (
        ("in bf16 against its float32", "ratio_to_plain_loop"),
        ("both in float32", "ratio_with_both_in_float32"),
        ("both in bf16", "ratio_with_both_in_bf16"),
    )
    said = [f"{result[key]['median']:.2f} times {words}" for words, key in pairs]
    return (
        f"{result['model']}, batch {result['batch']}, {_where(result)}, as fast as a plain loop around"
        f" `transformers`: {'; '.join(said)}."
    )


def _where(result: Result) -> str:
    device = result.get("device", "cpu")
    return f"{result['threads']} CPU thread(s)" if device == "cpu" else device


TABLES: dict[str, Callable[[Result], str]] = {
    "lever_study_cpu": levers,
    "lever_study_h200": levers,
    "learning_curve": learning,
    "custom_skeletons": skeletons,
    "checkpointing_memory_cpu": memory,
    "checkpointing_memory_gpu": memory,
    "training_speed_s": speed,
    "training_speed_b": speed,
    "training_speed_b_gpu": speed,
}


def page(text: str) -> str:
    """Return the page with every table made anew from its results."""

    def made(found: re.Match[str]) -> str:
        name = found.group(1)
        path = RESULTS / f"{name}.json"
        begin = f"<!-- table: {name} -->\n"
        if not path.exists():
            return begin + END
        result = json.loads(path.read_text(encoding="utf-8"))["result"]
        return f"{begin}\n{TABLES[name](result)}\n\n{END}"

    return re.sub(rf"<!-- table: (\w+) -->\n.*?{re.escape(END)}", made, text, flags=re.DOTALL)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
