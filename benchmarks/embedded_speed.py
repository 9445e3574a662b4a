"""What part of the time of a documented ViTPose-B does a model of embedded size take for one person?

    python benchmarks/embedded_speed.py [--repeats 15]

One box in a 1080p picture to keypoints, all from the decoded picture: the model that comes with the package, and
ViTPose-Ti at 256x192 and at 128x96, on every engine of this CPU; and `transformers` with ViTPose-B in float32, its
processor and post-processing as documented, in turns of several calls. All but the first have random weights: how long
a model takes does not depend on them.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

from harness import interleaved, median_ratio, write_result

from vitpose.codec.codec import Codec
from vitpose.core.geometry import Size
from vitpose.core.skeleton import load_skeleton
from vitpose.engines.choose import candidates, machine, make_engine
from vitpose.models.cost import count_macs
from vitpose.models.pose import create_model
from vitpose.pipeline.bench import Ours, Scene
from vitpose.pipeline.peer import TransformersPeer
from vitpose.weights.load import load_model

SIZES = {"ti, 256x192": Size(256, 192), "ti, 128x96": Size(128, 96)}
PEER = "transformers, b, 256x192"


def run(path: Ours) -> None:
    transform, crops = path.before()
    path.after(transform, path.run(crops))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--calls", type=int, default=5)
    given = parser.parse_args()
    scene = Scene.made_up(1)
    sides: dict[str, Callable[[], object]] = {}
    macs = {}
    models = {title: create_model("vitpose-ti", input_size=size, seed=0).eval() for title, size in SIZES.items()}
    for title, model in {"the embedded model": load_model("embedded").model, **models}.items():
        codec = Codec.for_head(model.spec.head(), model.spec.heatmap_size)
        macs[title] = count_macs(model.spec).total
        for name in candidates("cpu"):
            sides[f"{title}, {name}"] = partial(run, Ours(make_engine(name, model, device="cpu"), codec, scene))
    large = create_model("vitpose-b", seed=0).eval()
    macs[PEER] = count_macs(large.spec).total
    sides[PEER] = partial(TransformersPeer(large, load_skeleton("coco17")), scene.image, scene.boxes)
    seconds = interleaved(sides, repeats=given.repeats, calls=given.calls)
    theirs = seconds.pop(PEER)
    write_result(
        "embedded_speed",
        "one person, picture and box to keypoints: the share of the time of ViTPose-B in transformers",
        {
            "settings": machine(),
            "gmacs": {name: round(value / 1e9, 3) for name, value in macs.items()},
            "ms": {name: 1000 * statistics.median(times) for name, times in {**seconds, PEER: theirs}.items()},
            "share": {name: median_ratio(times, theirs) for name, times in seconds.items()},
        },
    )


if __name__ == "__main__":
    main()
