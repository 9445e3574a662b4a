"""Stage 3: labels made by the teacher for people nobody labelled, kept where it is sure and agrees with its mirror.

Three files come out: COCO's 17 points for the athletes of Leeds Sports Pose Extended, COCO's 17 points for boxed people
of COCO without labelled points, and the athletes' 14 points for the people of COCO.

python -m scripts.embedded.stage3_pseudo --data DATA --out runs/pseudo --teacher runs/teacher/last.safetensors
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scripts.embedded.common import SMALL_PEOPLE, log, parser, start

from vitpose.data.coco_writer import write_coco
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.pipeline.assemble import load
from vitpose.training.pseudo import Trust, label_people

SMALLEST_AREA = 32.0**2
"""COCO calls smaller people small and asks for no keypoints of them."""


def main(given: Sequence[str] | None = None) -> None:
    """Run the stage; files that are there are kept."""
    options = parser("Labels made by the teacher.")
    options.add_argument("--teacher", type=Path, required=True)
    options.add_argument("--score", type=float, default=0.4, help="smallest keypoint score, both ways round")
    arguments = options.parse_args(given)
    device = start(arguments)
    data, trust = arguments.data, Trust(score=-1.0 if arguments.small else arguments.score, box_score=0.0)
    if arguments.small:
        trust = replace(trust, distance_norm=10.0)
    coco = read_labelled("coco", data / "coco" / "person_keypoints_train.json", data / "coco" / "images")
    athletes = read_labelled("coco", data / "lspet" / "annotations.json", data / "lspet" / "images").select(slice(9500))
    wanted = {
        "athletes-coco": ("coco", athletes),
        "bare-coco": ("coco", _large(coco, labelled=False)),
        "coco-lspet": ("lspet", _large(coco, labelled=True)),
    }
    teacher = load(arguments.teacher, detector=None, device=str(device), batch_size=256, engine="eager")
    for name, (dataset, people) in wanted.items():
        path = arguments.out / f"{name}.json"
        if path.exists():
            continue
        few = people.select(slice(SMALL_PEOPLE)) if arguments.small else people
        made = label_people(teacher.for_dataset(dataset), few, trust)
        write_coco(made, path)
        log.info("%s: %d of %d people kept", name, len(made), len(few))


def _large(coco: LabelledSet, *, labelled: bool) -> LabelledSet:
    return coco.select(
        lambda person: not person.crowd and person.area > SMALLEST_AREA and (person.labelled > 0) == labelled
    )


if __name__ == "__main__":
    main()
