"""The pose model where there is no accelerator, at 128 x 96: stands for stages 1 to 4.

python -m scripts.embedded.small_machine --data DATA --out runs/small-machine --cpu --precision bf16

The run lies in ``small_machine_places`` of the folder and goes on where it was. ``--epochs N`` adds a second run, in
``small_machine``, which goes on from the first with the squared distance; within an hour it only made things worse.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from scripts.embedded.common import SIZES, configured, parser, run_stage, start


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("A small pose model, from nothing, on a CPU.")
    options.add_argument("--size", choices=tuple(SIZES), default="ti6")
    options.add_argument("--places", type=int, default=0, help="epochs of the first run, in place of the recipe's")
    options.add_argument("--epochs", type=int, default=0, help="epochs of the second run; 0 leaves it out")
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 where the CPU has it")
    arguments = options.parse_args(given)
    start(arguments)
    out, source = arguments.out, ""
    runs = [("small_machine_places", arguments.places)]
    runs += [("small_machine", arguments.epochs)] if arguments.epochs else []
    for recipe, epochs in runs:
        arguments.out = out / recipe
        config = configured(recipe, arguments, arguments.size, f"model.start={json.dumps(source)}")
        if not (arguments.out / "config.toml").exists():
            config = replace(config, loop=replace(config.loop, precision=arguments.precision))
            length = 1 if arguments.small else epochs or config.schedule.epochs
            config = replace(config, schedule=replace(config.schedule, epochs=length))
        if run_stage(config, arguments).ending != "finished":
            return
        source = str(arguments.out / "last.safetensors")


if __name__ == "__main__":
    main()
