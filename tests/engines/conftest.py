"""One export of each kind for all tests: each takes seconds."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_models import FREE, tiny_crops, tiny_model

from vitpose.core.skeleton import load_skeleton
from vitpose.models.pose import VitPose


@pytest.fixture(scope="session")
def model() -> VitPose:
    return tiny_model()


@pytest.fixture(scope="session")
def crops() -> np.ndarray:
    return tiny_crops(9)


@pytest.fixture(scope="session")
def exported(model, crops, tmp_path_factory):
    """Return the path of an export, made when it is first asked for."""
    pytest.importorskip("onnxscript")
    folder: Path = tmp_path_factory.mktemp("exports")
    made: dict[tuple[str, str, bool, str], Path] = {}

    def get(to: str, precision: str = "fp32", *, end_to_end: bool = False, dataset: str = "coco") -> Path:
        from vitpose.engines.export import SUFFIXES, Target, export

        pytest.importorskip("openvino" if to == "openvino" else "onnxruntime")
        key = (to, precision, end_to_end, dataset)
        if key not in made:
            path = folder / ("-".join(map(str, key)) + SUFFIXES[to])
            skeleton = load_skeleton({"coco": "coco17", "aic": "aic14"}[dataset])
            target = Target(to=to, precision=precision, end_to_end=end_to_end)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of packages that are not ours
                export(model, path, skeleton=skeleton, crops=crops, target=target, dataset=dataset, limits=FREE)
            made[key] = path
        return made[key]

    return get
