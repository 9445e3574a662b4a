"""The words about the embedded pair: model card and ``docs/embedded.md``, both from the results of stage 6 alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """What is asked for: the number's name, words for it, floor and aim; lower is better for errors."""

    name: str
    words: str
    floor: float
    aim: float
    lower: bool = False

    def verdict(self, value: float) -> str:
        """Say where a value stands."""
        sign = -1 if self.lower else 1
        if not math.isfinite(value):
            return "not measured"
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "floor reached" if sign * value >= sign * self.floor else "missed"


TARGETS = (
    Target("coco_ap", "COCO-17 AP, labelled boxes, flip test", 0.30, 0.50),
    Target("lsp_pck", "LSP 14 points, PCK@0.2 of torso, flip test", 0.70, 0.85),
    Target("recall_tall", "recall of people taller than 20 % of the picture at 0.3 false boxes a picture", 0.75, 0.92),
    Target("detected_ap", "detector and pose, COCO AP, flip test", 0.20, 0.40),
    Target("calibration_error", "expected calibration error of p_correct", 0.08, 0.03, lower=True),
)


def targets_table(numbers: Mapping[str, float | None]) -> str:
    """Return the targets as a Markdown table."""
    rows = ["| on the validation parts | floor | aim | measured | |", "|---|---|---|---|---|"]
    for one in TARGETS:
        value = _number(numbers, one.name)
        shown = f"{value:.3f}" if math.isfinite(value) else "-"
        rows.append(f"| {one.words} | {one.floor:g} | {one.aim:g} | {shown} | {one.verdict(value)} |")
    return "\n".join(rows)


def model_card(results: Results) -> str:
    """Return the model card of a pair as Markdown."""
    return f"""# The embedded pair: vitpose-embedded and person-detector

A COCO-17 pose model and a detector of people, trained by this package's own recipes (`scripts/embedded`), measured
at commit {results["commit"]} on {results["machine"]}.

{_architecture(results)}

{_measured(results)}

## How it was made

{_history(results)}

## What it learned from

{_DATA}
"""


def embedded_page(results: Results | None) -> str:
    """Return ``docs/embedded.md``; without results, of a package that carries no pair."""
    shipped = _SHIPPED.format(files=_files(results)) if results else _NOT_SHIPPED
    measured = ""
    if results:
        measured = f"\n{_architecture(results)}\n\n## How good it is\n\n{_measured(results)}\n\n{_PICTURE}\n"
        measured += f"\n## How it was made\n\n{_history(results)}\n"
    return f"{_RULE}\n## What comes with the package\n\n{shipped}{measured}\n## What it learned from\n\n{_DATA}\n"


def _measured(results: Results) -> str:
    numbers = results["results"][results["chosen"]]
    second = "on" if results["refine"] else "off"
    others = "\n".join(_candidate(name, one) for name, one in results["results"].items())
    return f"""{targets_table(numbers)}

Floor: what was wanted at least; aim: what was hoped for. A second pass over found boxes (`--refine`) measures better
when it is {second}. Pose models measured with the detector:

{others}"""


def _architecture(results: Results) -> str:
    """One paragraph: what the two networks are."""
    made = results.get("architecture")
    if not made:
        return "The architecture is in the files' headers."
    pose, detector = made["pose"], made["detector"]
    heads = "; ".join(f"`{name}` {words}" for name, words in pose["decoders"].items())
    height, width = pose["input_size"]
    return (
        f"The pose model is {_KINDS[pose.get('stem', 'patches')]} of {pose['depth']} blocks, width {pose['width']},"
        f" {pose['heads']} attention heads, {pose['parameters'] / 1e6:.1f} M parameters, for crops of {height} x"
        f" {width}, with {len(pose['decoders'])} decoders: {heads}. The detector is a convolutional network with"
        f" {detector['blocks']} transformer block{'s' if detector['blocks'] > 1 else ''},"
        f" {detector['parameters'] / 1e6:.1f} M parameters, for pictures of {detector['side']} px on the longer side"
        " ([decision 030](decisions/030-embedded-detector.md))."
    )


def _history(results: Results) -> str:
    """The runs behind the pair, and the scores on the way."""
    stages = results.get("stages", [])
    if not stages:
        return "The weights did not lie in a run's folder, so nothing is known about their making."
    rows = ["| run | device | passes | steps x batch | minutes |", "|---|---|---|---|---|"]
    for one in stages:
        minutes = "not written down" if one["minutes"] is None else f"{one['minutes']:.0f}"
        device = one.get("device", "not written down")
        rows.append(
            f"| {one['name']} | {device} | {one['epochs']:g} | {one['steps']} x {one['batch_size']} | {minutes} |"
        )
    commands = dict.fromkeys(one["command"] for one in stages if "command" in one)
    notes = [f"{one['name']}: {one['note']}" for one in stages if "note" in one]
    parts = ["\n".join(rows), *(f"`{command}`" for command in commands), *notes]
    parts += [_curve(one) for one in stages if one["curve"]]
    return "\n\n".join(parts)


def _curve(stage: Mapping[str, Any]) -> str:
    """One run's scores on its validation part by epoch, at most a dozen rows."""
    names = [name for name in stage["curve"][0] if name != "epoch"]
    step = -(-len(stage["curve"]) // 12)
    chosen = [*stage["curve"][::step], *([stage["curve"][-1]] if (len(stage["curve"]) - 1) % step else [])]
    rows = [f"| {stage['name']}: pass | {' | '.join(_CURVES.get(name, name) for name in names)} |"]
    rows.append("|---" * (len(names) + 1) + "|")
    rows += [f"| {line['epoch']} | {' | '.join(f'{line[name]:.3f}' for name in names)} |" for line in chosen]
    return "\n".join(rows)


def _candidate(name: str, one: Mapping[str, float | None]) -> str:
    def shown(key: str) -> str:
        value = _number(one, key)
        return f"{value:.3f}" if math.isfinite(value) else "not measured"

    return (
        f"- {name}: COCO AP {shown('coco_ap')} ({shown('coco_ap_low')} to {shown('coco_ap_high')}), without flip test"
        f" {shown('coco_ap_plain')}; LSP PCK {shown('lsp_pck')}; with detector {shown('detected_ap')}, with a second"
        f" pass {shown('detected_ap_refined')}; {_number(one, 'seconds_a_picture'):.2f} s a picture"
    )


def _files(results: Results) -> str:
    return "\n".join(
        f"- `{name}`: {one['bytes'] / 1e6:.1f} MB, SHA-256 `{one['sha256'][:12]}…`"
        for name, one in results["files"].items()
    )


def _number(numbers: Mapping[str, float | None], name: str) -> float:
    value = numbers.get(name)
    return float("nan") if value is None else float(value)


_KINDS = {
    "patches": "a plain vision transformer",
    "convolutions": (
        "a stem of convolutions ([decision 042](decisions/042-convolutional-stem.md)) and a vision transformer"
    ),
}
"""What a backbone is called, by its stem."""

_CURVES = {
    "ap": "COCO AP",
    "annotations/ap": "AP of athletes held out",
    "recall_tall": "recall of tall people",
    "ap50": "AP50 of boxes",
}
"""What the numbers of a curve are called."""

_RULE = """# The pair that comes with the package

<!-- Written by scripts/embedded/ship.py: change the words in scripts/embedded/page.py. -->

`vitpose predict photo.jpg` works without a network. What is used is chosen by one rule, for the model and for the
detector alike:

1. what `--model` and `--detector` say;
2. else the published default (`vitpose-b`, and RT-DETR for the boxes), where its files are on this disk;
3. else the same from the Hugging Face hub, where that can be reached;
4. else the pair that comes with the package.

One line on standard error says what was chosen and how to choose otherwise, and every result records the name and the
hash of both. `--model embedded` takes the pair whatever else is there; `--detector embedded` takes its detector for
another model. Where a copy of the package carries no pair, the published default stays, with its error when it cannot
be had.

The embedded detector knows people only: for animals (`--classes`, or an animal head) the published detector stays the
default.

Whether the hub can be reached is asked for once, by one request for the header of its front page that is given up after
three seconds; `HF_HUB_OFFLINE=1` saves even that. Without a network nothing waits for the retries of the hub's client.

In Python: `vitpose.load("auto")`, `vitpose.load("embedded")`, `detector="embedded"`.
"""

_SHIPPED = """{files}

How long a first photograph takes, from the command to the files, is in `benchmarks/results/first_photo.json`
(`benchmarks/first_photo.py`).

Both are float16 `safetensors`. The pose model has a second head of 14 points for athletes: `--dataset lspet`.
"""

_PICTURE = """What it draws on thirty validation pictures, without the photographs (white: a picture, grey: none):

![skeletons of thirty pictures](embedded.png)"""

_NOT_SHIPPED = """Nothing yet: the recipes and the chain that makes the pair are in `scripts/embedded`, and its result
goes into `src/vitpose/weights/embedded`.
"""

_DATA = """2,252 pictures of COCO 2017 (annotations CC BY 4.0, each photograph under its own Flickr licence), person
crops of Leeds Sports Pose Extended (no licence stated), 308 pictures of COCO without people. Judged on 250 other
pictures of COCO, 65 people of Leeds Sports Pose and 77 pictures without people, none of which was trained on. Several
of these sets state no licence: research use.

Little data: expect failures on rare poses, heavy occlusion, groups, and people below a fifth of the picture's height.
Seen in the photographs behind the sheet: a hand that holds a telephone taken for a person, a man in a dark kitchen not
found, a woman bent over sheep found and her pose wrong, limbs of half-length portraits made up.
Left and right of the athletes' labels are sometimes swapped in the source."""
