"""Write the table of built-in skeletons into ``docs/skeletons.md``: ``python docs/generate_skeletons.py``."""

from pathlib import Path

from vitpose.core.skeleton import builtin_skeletons, load_skeleton

PAGE = Path(__file__).with_name("skeletons.md")
START, END = "<!-- table: python docs/generate_skeletons.py -->", "<!-- end of table -->"


def table() -> str:
    """Return the table as Markdown, one line a skeleton."""
    lines = [
        "| name | keypoints | edges | mirror pairs | OKS constants | what | source and deviations |",
        "|" + "---|" * 7,
    ]
    for name in builtin_skeletons():
        skeleton = load_skeleton(name)
        constants = "yes" if skeleton.sigmas else "no"
        numbers = f"{len(skeleton)} | {len(skeleton.edges)} | {len(skeleton.flip_pairs)} | {constants}"
        lines.append(f"| `{name}` | {numbers} | {skeleton.title} | {skeleton.source} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page's ``text`` with a fresh table."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
