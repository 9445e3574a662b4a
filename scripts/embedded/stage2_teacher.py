"""Stage 2: the teacher, from the pre-trained backbone, on COCO and Leeds Sports Pose Extended with both heads.

python -m scripts.embedded.stage2_teacher --data DATA --out runs/teacher --start runs/pretrain-s/last.safetensors \
    --size s --fit-minutes 8
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from scripts.embedded.common import SIZES, configured, parser, run_stage, start


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage."""
    options = parser("Supervised training of the teacher on the mixture.")
    options.add_argument("--size", choices=tuple(SIZES), default="s")
    options.add_argument("--start", default="", help="pre-trained backbone; none starts from random weights")
    options.add_argument("--fit-minutes", type=float, default=0.0, help="as many epochs as fit in this time")
    arguments = options.parse_args(given)
    start(arguments)
    config = configured("teacher", arguments, arguments.size, f"model.start={json.dumps(arguments.start)}")
    if arguments.small:
        config = replace(config, schedule=replace(config.schedule, epochs=1))
    run_stage(config, arguments)


if __name__ == "__main__":
    main()
