"""Configurations: strict, complete, and equal after a round trip."""

import pytest
from tiny_runs import TINY, tiny

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.training.recipe import load_config, parse_config, recipe_purpose
from vitpose.training.settings import changed, differences, dump_toml, parse_toml


def test_round_trip_is_equal():
    config = tiny("optim.ema=0.5")
    assert parse_config(config.to_toml(), "again") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.larning_rate=1", "unknown key 'optim.larning_rate'"),
        ("optim.layer_decy=1", "did you mean 'layer_decay'"),
        ("optim.lr=fast", "optim.lr must be a number, not 'fast'"),
        ("schedule.epochs=1.5", "schedule.epochs must be a whole number"),
        ("loop.precision=bf8", "bf16"),
        ("loop.checkpointing=1", "true or false"),
        ("model.input_size=[64]", "must have 2 entries"),
        ("data.train.0.dataset=bdy", "did you mean 'body'"),
        ("data.train.3.dataset=body", "not a position in a list of 1"),
        ("optim.lr.x=1", "lies inside a value"),
        ("optim", "must look like"),
        ("optim.lr=0", "optim.lr must be above 0"),
        ("optim.lr=inf", "finite"),
        ("objective.balance=2", "objective.balance must be in 0..1"),
        ("data.train=[]", "data.train is empty"),
    ],
)
def test_wrong_values_name_the_place(change, message):
    with pytest.raises(UsageError) as caught:
        parse_config(TINY, "tiny.toml", [change])
    assert message in str(caught.value)


def test_changes_are_typed():
    run = parse_config(TINY, "tiny.toml", ["optim.lr=3e-4", "name=x", "model.input_size=[96, 64]", "optim.lr=2"])
    assert (run.optim.lr, run.name, run.model.spec().input_size) == (2.0, "x", Size(96, 64))


def test_missing_keys_are_named():
    with pytest.raises(UsageError, match=r"model\.backbone needs depth"):
        parse_config(TINY.replace("depth = 2\n", ""), "tiny.toml")


def test_not_toml_names_the_line():
    with pytest.raises(UsageError, match="line 2"):
        parse_config("name = 'x'\nseed = = 3", "bad.toml")


def test_unknown_recipe_and_missing_file():
    with pytest.raises(UsageError, match="did you mean 'coco-b'"):
        load_config("coco-bb")
    with pytest.raises(InputError, match="cannot read"):
        load_config("nowhere/x.toml")


def test_changes_leave_the_original_alone():
    plain = parse_toml(TINY, "tiny.toml")
    changed(plain, ["data.train.0.images=other", "optim.lr=9"])
    assert plain == parse_toml(TINY, "tiny.toml")


def test_toml_text_survives_awkward_strings():
    plain = {
        "text": 'quotes " and \\ and\nlines\x7f é',
        "number": 1e-5,
        "flag": True,
        "rows": [{"a": [1, 2]}],
        "t": {"b": []},
    }
    assert parse_toml(dump_toml(plain), "dump") == plain


def test_differences_list_every_leaf():
    assert differences({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "d": [2], "e": 0}) == [
        "a.c: 2 -> 3",
        "d: [1] -> [2]",
        "e: None -> 0",
    ]


def test_shifted_attention_alternates():
    run = parse_config(TINY, "tiny.toml", ["model.backbone.attention=shifted+pooled", "model.backbone.window=[2,2]"])
    assert [entry.kind for entry in run.model.spec().backbone.attention] == ["pooled", "shifted+pooled"]


def test_purpose_is_the_first_line():
    assert recipe_purpose("coco-b").startswith("ViTPose-B, classic head")
