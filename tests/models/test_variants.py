import json
from dataclasses import replace
from typing import Any

import pytest
from small_models import small_plus, small_spec

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.models.attention import alternate
from vitpose.models.variants import COCO_HEAD, Attention, BackboneSpec, ModelSpec, published_specs


@pytest.mark.parametrize("name", published_specs())
def test_specs_survive_json(name: str) -> None:
    spec = published_specs()[name]
    assert spec.name == name
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_windows_survive_json() -> None:
    spec = small_spec(attention=alternate("shifted+pooled", Size(3, 2), 3))
    again = ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert again.backbone.attention[1].window.width == 2


@pytest.mark.parametrize("part", ["backbone", "heads"])
def test_unknown_fields_name_the_nearest(part: str) -> None:
    plain = json.loads(json.dumps(small_plus().to_dict()))
    (plain["backbone"] if part == "backbone" else plain["heads"][2])["exprt"] = 1
    with pytest.raises(InputError, match="unknown field 'exprt'; did you mean 'expert"):
        ModelSpec.from_dict(plain)


@pytest.mark.parametrize("broken", [{}, {"name": "x"}, {"name": "x", "backbone": {}, "heads": [], "input_size": [1]}])
def test_broken_specs_are_unreadable_input(broken: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a valid model spec"):
        ModelSpec.from_dict(broken)


def test_missing_heads_of_converted_files_are_explained() -> None:
    spec = replace(small_plus(), heads=small_plus().heads[:1])
    with pytest.raises(UsageError, match=r"no head for dataset 'mpii', only for coco; .*original checkpoint"):
        spec.head("mpii")


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 5},
        {"heads": 0},
        {"depth": 0},
        {"stride": 5},
        {"patch": 15, "stride": 7},
        {"drop_path": 1.0},
        {"experts": 2},
        {"expert_width": 8},
        {"experts": 2, "expert_width": 32},
    ],
)
def test_backbones_that_cannot_be_built(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(BackboneSpec(width=32, depth=2, heads=4), **wrong)  # type: ignore[arg-type]


def test_unknown_kinds_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"attention kind 'shift'; did you mean 'shifted'"):
        Attention(kind="shift")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"head kind 'clasic'; did you mean 'classic'"):
        replace(COCO_HEAD, kind="clasic")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"codec 'UDPP'"):
        replace(COCO_HEAD, codec="UDPP")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="keypoints of a head must be a whole number from 1"):
        replace(COCO_HEAD, keypoints=0)
    with pytest.raises(UsageError, match="window"):
        Attention(kind="window", window=Size(0, 8))
    plain = json.loads(json.dumps(small_spec().to_dict()))
    plain["heads"][0]["kind"] = "clasic"
    with pytest.raises(InputError, match="did you mean 'classic'"):
        ModelSpec.from_dict(plain)


def test_published_sizes() -> None:
    specs = published_specs()
    assert len(specs) == 16
    assert specs["vitpose-b"].heatmap_size == Size(64, 48)
    assert specs["vitpose-g"].heatmap_size == Size(144, 108)
    assert specs["vitpose-s"].backbone.heads == 12
    assert [specs[f"vitpose-plus-{size}"].backbone.expert_width for size in "sblh"] == [96, 192, 256, 320]
    assert [head.expert for head in specs["vitpose-plus-b"].heads] == list(range(6))


def changed(part: str, **values: object) -> dict[str, Any]:
    """The plain data of a small model, with other values where ``part`` says: "", "backbone", "heads", "attention"."""
    plain: dict[str, Any] = json.loads(json.dumps(small_spec().to_dict()))
    place = {"": plain, "backbone": plain["backbone"], "heads": plain["heads"][0]}
    (place | {"attention": plain["backbone"]["attention"][0]})[part].update(values)
    return plain


@pytest.mark.parametrize(
    ("part", "values"),
    [
        *(("backbone", {name: 2.0}) for name in ("width", "depth", "heads", "patch", "stride", "hidden", "experts")),
        *(("backbone", {name: 10**9}) for name in ("width", "depth", "hidden", "expert_width")),
        ("backbone", {"hidden": -4}),
        ("backbone", {"depth": True}),
        ("backbone", {"depth": None}),
        ("backbone", {"stem_depths": [1, 10**9, 2]}),
        ("backbone", {"norm_eps": "a"}),
        ("backbone", {"norm_eps": float("nan")}),
        ("backbone", {"norm_eps": -1}),
        ("backbone", {"drop_path": "0.1"}),
        ("backbone", {"attention": "full"}),
        ("attention", {"window": [8.0, 8]}),
        ("attention", {"window": ["8", "8"]}),
        ("attention", {"window": [8, 10**9]}),
        ("heads", {"keypoints": 17.0}),
        ("heads", {"keypoints": 10**9}),
        ("heads", {"deconv_width": 256.0}),
        ("heads", {"expert": -1}),
        ("heads", {"dataset": None}),
        ("heads", {"dataset": ["coco"]}),
        ("heads", {"skeleton": 17}),
        ("heads", {"square_box": "no"}),
        ("", {"name": None}),
        ("", {"backbone": "wide"}),
        ("", {"heads": [None]}),
        ("", {"input_size": [64.0, 48.0]}),
        ("", {"input_size": [16 * 10**9, 48]}),
    ],
)
def test_values_no_model_has_are_unreadable_input(part: str, values: dict[str, object]) -> None:
    assert ModelSpec.from_dict(changed(part))
    with pytest.raises(InputError, match="not a valid model spec"):
        ModelSpec.from_dict(changed(part, **values))


def test_the_message_names_the_number() -> None:
    with pytest.raises(UsageError, match=r"depth of a backbone must be a whole number from 1 to 65536, not 2\.0"):
        BackboneSpec(width=32, depth=2.0, heads=4)  # type: ignore[arg-type]
