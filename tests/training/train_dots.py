"""A run on dots as a program of its own, to be killed, told to stop, or run as several processes.

Usage: python train_dots.py OUT [--resume] [--slow] [CHANGE ...]
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from tiny_runs import Dots, tiny

from vitpose.data.batch import Batch
from vitpose.training.material import Material
from vitpose.training.run import train


@dataclass(frozen=True)
class SlowDots(Dots):
    """Dots that take their time, so that there is some in which to be killed."""

    def draw(self, indices: np.ndarray, seeds: np.ndarray) -> Batch:
        time.sleep(0.05)
        return Dots.draw(self, indices, seeds)


def main(out: str, *rest: str) -> int:
    dots = SlowDots() if "--slow" in rest else Dots()
    changes = [word for word in rest if not word.startswith("--")]
    material = Material(train=dots, people={"body": len(dots)}, unlabelled=Dots(people=4))
    outcome = train(tiny(*changes), out, material=material, resume="--resume" in rest, cpu=True)
    return 130 if outcome.ending == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
