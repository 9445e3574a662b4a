"""The names others rely on, frozen."""

import inspect
import types

import pytest

import vitpose

NAMES = [
    "Boxes",
    "PoseEstimator",
    "Poses",
    "Skeleton",
    "VitPose",
    "__version__",
    "create_model",
    "draw",
    "list_models",
    "load",
]


def test_the_public_names_are_these_and_all_resolve() -> None:
    assert list(vitpose.__all__) == NAMES
    assert dir(vitpose) == NAMES
    for name in NAMES:
        assert getattr(vitpose, name) is not None


def test_no_public_name_is_a_sub_package() -> None:
    for name in NAMES:
        assert not isinstance(getattr(vitpose, name), types.ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="laod"):
        vitpose.laod  # noqa: B018


def test_the_arguments_of_load() -> None:
    parameters = inspect.signature(vitpose.load).parameters
    expected = {
        "name_or_path": inspect.Parameter.empty,
        "dataset": None,
        "skeleton": None,
        "detector": "auto",
        "engine": "auto",
        "device": "auto",
        "flip_test": False,
        "refine": False,
        "decode_sigma": 2.0,
    }
    assert {name: parameters[name].default for name in expected} == expected
    for name, parameter in parameters.items():
        assert (parameter.kind is inspect.Parameter.KEYWORD_ONLY) == (name != "name_or_path")
