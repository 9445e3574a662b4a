"""The pose model where there is no accelerator, at 128 x 96: stands for stages 1 to 4.

python -m scripts.embedded.small_machine --data DATA --out runs/small-machine --cpu --precision bf16

The run goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import replace

from scripts.embedded.common import SIZES, configured, parser, run_stage, start


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("A small pose model, from nothing, on a CPU.")
    options.add_argument("--size", choices=tuple(SIZES), default="ti3")
    options.add_argument("--epochs", type=int, default=0, help="in place of the recipe's")
    options.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 where the CPU has it")
    options.add_argument("--set", dest="changes", nargs="*", default=[], help="key=value in place of the recipe's")
    arguments = options.parse_args(given)
    start(arguments)
    config = configured("small_machine", arguments, arguments.size, *arguments.changes)
    if not (arguments.out / "config.toml").exists():
        config = replace(config, loop=replace(config.loop, precision=arguments.precision))
        length = 1 if arguments.small else arguments.epochs or config.schedule.epochs
        config = replace(config, schedule=replace(config.schedule, epochs=length))
    run_stage(config, arguments)


if __name__ == "__main__":
    main()
