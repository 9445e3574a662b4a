"""Write the tables of ``docs/tracking.md``, ``docs/smoothing.md`` and ``docs/video.md`` from ``benchmarks/results``.

python docs/generate_studies.py
"""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def tracking_table(result: dict[str, Any]) -> str:
    """One row a tracker, the three settings side by side; similarity by boxes."""
    lines = [
        "| tracker | easy IDF1 / HOTA / MOTA / switches | medium | hard |",
        "|---|---|---|---|",
    ]
    settings = result["scores"]
    for name in next(iter(settings.values())):
        if name.startswith("margin"):
            continue
        cells = []
        for rows in settings.values():
            row = rows[name]["box"]
            cells.append(f"{row['IDF1']:.1f} / {row['HOTA']:.1f} / {row['MOTA']:.1f} / {row['id_switches']}")
        lines.append(f"| {'**pose (ours)**' if name == 'pose' else name} | {' | '.join(cells)} |")
    margins = [f"{rows['margin_IDF1_box']:+.1f}" for rows in settings.values()]
    lines.append(f"| ours less the best other, IDF1 | {' | '.join(margins)} |")
    best = [
        max(row["oks"]["IDF1"] for name, row in rows.items() if name not in {"pose", "margin_IDF1_box"})
        for rows in settings.values()
    ]
    by_pose = [
        f"{rows['pose']['oks']['IDF1'] - other:+.1f}" for rows, other in zip(settings.values(), best, strict=True)
    ]
    lines.append(f"| the same with poses (OKS) as similarity | {' | '.join(by_pose)} |")
    return "\n".join(lines)


def smoothing_table(result: dict[str, Any]) -> str:
    """One row a method with its default numbers: jitter, RMSE, lag on both kinds of motion."""
    lines = [
        "| method | when | jitter, Penn Action | RMSE % | lag | jitter, dance | RMSE % | lag |",
        "|---|---|---|---|---|---|---|---|",
    ]
    when = {"none": "", "one_euro": "online", "kalman": "online"}
    for name, entry in result["methods"].items():
        cells = []
        for kind in ("penn_test", "dance"):
            row, raw = entry["default"][kind], result["methods"]["none"]["default"][kind]
            share = row["jitter"] / raw["jitter"]
            numbers = f"{row['rmse_percent']:.2f} | {abs(row['lag_frames']):.2f}"
            cells.append(f"{row['jitter']:.0f} ({share:.0%}) | {numbers}")
        lines.append(f"| {name} | {when.get(name, 'offline')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def on_demand_table(result: dict[str, Any]) -> str:
    """One row an N, the three settings side by side."""
    settings = result["by_setting_and_every"]
    shown = "looks a frame / processor seconds a frame / recall / IDF1"
    lines = [
        f"| N | {' | '.join(f'{name}: {shown}' if name == 'easy' else name for name in settings)} |",
        "|---|" + "---|" * len(settings),
    ]
    for every in next(iter(settings.values())):
        cells = [
            f"{row['looks_per_frame']:.2f} / {row['seconds_per_frame']:.2f} / {row['recall']:.1f} / {row['IDF1']:.1f}"
            for row in (rows[every] for rows in settings.values())
        ]
        lines.append(f"| {every} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAGES = {
    "tracking": ("tracking_study", tracking_table),
    "smoothing": ("smoothing_study", smoothing_table),
    "video": ("video_on_demand", on_demand_table),
}
"""What stands on each page: the results and how they are shown."""


def page(name: str) -> str:
    """Return the text of a page with its table made anew."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    study, table = PAGES[name]
    result = json.loads((RESULTS / f"{study}.json").read_text(encoding="utf-8"))["result"]
    return f"{before}{BEGIN}\n{table(result)}\n{END}{after}"


def main() -> None:
    """Write the pages."""
    for name in PAGES:
        (DOCS / f"{name}.md").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
