"""The whole chain learns: eight real people, known by heart."""

from tiny_runs import TINY

from vitpose.data.augment import NONE
from vitpose.data.people import CropPlan
from vitpose.data.readers.read import read_labelled
from vitpose.data.records import LabelledSet
from vitpose.data.topdown import TopDown
from vitpose.training.material import Material
from vitpose.training.recipe import parse_config
from vitpose.training.run import train
from vitpose.training.validate import ValidationSet

OVERFIT = (
    "model.backbone.width=96",
    "model.backbone.heads=3",
    "model.backbone.drop_path=0.0",
    "model.heads.0.skeleton=coco17",
    "model.heads.0.kind=classic",
    "optim.lr=3e-3",
    "optim.layer_decay=1.0",
    "optim.weight_decay=0.0",
    "schedule.epochs=80",
    "schedule.warmup_steps=10",
    "loop.batch_size=8",
    "loop.evaluate_every=40",
    "loop.save_every=1000",
    "loop.flip_test=false",
)


def eight_people(labelled: LabelledSet) -> LabelledSet:
    """Return the eight largest well labelled people, each from another picture."""
    chosen: dict[object, object] = {}
    for record in sorted(labelled.for_training(12).records, key=lambda person: -person.area):
        chosen.setdefault(record.image_id, record.annotation_id)
        if len(chosen) == 8:
            break
    return labelled.select(lambda person: person.annotation_id in chosen.values())


def test_eight_real_people_are_learned_to_ap_one(shared, tmp_path):
    people = eight_people(read_labelled("coco", shared / "data" / "coco" / "person_keypoints_train.json"))
    assert len(people) == 8
    config = parse_config(TINY, "tiny.toml", OVERFIT)
    plan = CropPlan(dataset="body", size=config.model.spec().input_size, augmentation=NONE)
    material = Material(train=TopDown.of(people, plan), people={"body": 8}, validation=(ValidationSet("body", people),))
    outcome = train(config, tmp_path, material=material, cpu=True)
    assert outcome.progress.best_score is not None
    assert outcome.progress.best_score >= 1.0
