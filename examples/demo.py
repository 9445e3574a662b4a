"""What `make demo` runs: poses in a photograph that a dependency ships, written to `demo/`. Nothing is downloaded.

The photograph is scikit-image's portrait of the astronaut Eileen Collins (NASA, public domain).
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image
from skimage import data

from vitpose.weights.catalog import find_model, is_on_disk

OUT = Path("demo")

CARRIED = ("--model", "embedded")
# Random weights score next to nothing; threshold 0 shows their keypoints all the same.
RANDOM = ("--model", "random:vitpose-s", "--detector", "whole", "--threshold", "0")

WORDS = {
    True: "These are the small weights that come with the package. With a network, run:  vitpose predict photo.jpg",
    False: "The weights of this demo are RANDOM, so the skeleton is scattered: the demo downloads nothing, and this\n"
    "copy of the package carries no trained weights. With a network, run:  vitpose predict photo.jpg",
}


def main() -> int:
    """Write the photograph, run the command, say what to look at; return the command's exit code."""
    OUT.mkdir(exist_ok=True)
    photo = OUT / "astronaut.png"
    Image.fromarray(data.astronaut()).save(photo)
    carried = is_on_disk(find_model("embedded")) is not None
    command = ["predict", str(photo), *(CARRIED if carried else RANDOM), "--out", str(OUT)]
    print("$ vitpose", *command, flush=True)
    code = subprocess.run([sys.executable, "-m", "vitpose", *command], check=False).returncode
    if code == 0:
        print(f"Look at {OUT}/astronaut.overlay.jpg and {OUT}/astronaut.json.\n{WORDS[carried]}")
    return code


if __name__ == "__main__":
    sys.exit(main())
