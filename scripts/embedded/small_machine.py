"""The pose model where there is no accelerator: places first, heatmaps last, at 128 x 96; stands for stages 1 to 4.

python -m scripts.embedded.small_machine --data DATA --out runs/small-machine --cpu --precision bf16

The two runs lie in ``places`` and ``pose`` of the folder; both go on where they were. The lengths of a run that was not
begun yet are ``--places`` and ``--epochs``.
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
    options.add_argument("--epochs", type=int, default=0, help="epochs of the second run, in place of the recipe's")
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 where the CPU has it")
    arguments = options.parse_args(given)
    start(arguments)
    out, source = arguments.out, ""
    for recipe, epochs in (("small_machine_places", arguments.places), ("small_machine", arguments.epochs)):
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
