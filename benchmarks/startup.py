"""How long do `import vitpose` and `vitpose --help` take, and do they load torch?

    python benchmarks/startup.py

Each is a fresh process, so the interpreter's own start is in the numbers; it is given beside them.
"""

import subprocess
import sys

from harness import interleaved, write_result

SIDES = {
    "python, nothing": ["-c", "pass"],
    "import vitpose": ["-c", "import vitpose"],
    "vitpose --help": ["-m", "vitpose", "--help"],
}


def run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def loads_torch(arguments: list[str]) -> bool:
    """Ask the interpreter which modules it imported."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True)
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


def main() -> None:
    seconds = interleaved({name: lambda arguments=arguments: run(arguments) for name, arguments in SIDES.items()}, 9)
    write_result(
        "startup",
        "seconds until `import vitpose` and `vitpose --help` are done, in a fresh process (aim: under 0.4 s, no torch)",
        {
            name: {
                "median_s": sorted(times)[len(times) // 2],
                "min_s": min(times),
                "loads_torch": loads_torch(SIDES[name]),
            }
            for name, times in seconds.items()
        },
    )


if __name__ == "__main__":
    main()
