"""Does time grow in proportion to the people in a picture, and does memory stay flat?

    python benchmarks/growth.py

One 1080p picture with 1 to 1,000 boxes through the estimator, ViTPose-Ti with random weights, each count a process of
its own.
"""

import json
import resource
import subprocess
import sys
import time

from harness import write_result

import vitpose
from vitpose.pipeline.bench import Scene

COUNTS = (1, 3, 10, 30, 100, 300, 1000)


def one(people: int) -> dict[str, float]:
    estimator = vitpose.load("random:vitpose-ti", detector=None, engine="eager-fp32", device="cpu")
    scene = Scene.made_up(people)
    estimator(scene.image, boxes=scene.boxes[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = estimator(scene.image, boxes=scene.boxes)
    took = time.perf_counter() - start
    assert len(found) == people
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "people": people,
        "seconds": took,
        "ms_a_person": 1000 * took / people,
        "more_memory_mib": (after - before) / 1024,
    }


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one(int(sys.argv[1]))))
        return
    rows = []
    for people in COUNTS:
        done = subprocess.run([sys.executable, __file__, str(people)], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    write_result("growth", "time and memory by people in one picture", {"rows": rows})


if __name__ == "__main__":
    main()
