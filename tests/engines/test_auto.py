"""What ``auto`` offers to callers whose crops are on a device."""

import numpy as np
import pytest
import torch
from on_the_spot import OnTheSpot
from tiny_models import tiny_crops

from vitpose.core.errors import UsageError
from vitpose.core.skeleton import load_skeleton
from vitpose.engines import auto
from vitpose.engines.auto import AutoEngine
from vitpose.engines.base import OffersDevice, Resident
from vitpose.engines.choose import Choice, Tried
from vitpose.engines.eager import EagerEngine

SKELETONS = {"coco": load_skeleton("coco17"), "aic": load_skeleton("aic14")}


def test_people_on_the_device_count_for_the_choice(model, tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    offered = OnTheSpot(model).resident()
    monkeypatch.setattr(
        EagerEngine, "resident", lambda _: Resident(offered.device, offered.run, offered.module, recordable=True)
    )
    seen: list[np.ndarray] = []

    def chosen(_model, crops, **_):
        seen.append(crops)
        return Choice(name="eager-fp32", tried=(Tried(name="eager-fp32", ms=1.0),))

    monkeypatch.setattr(auto, "candidates", lambda _: ("eager-fp32", "other"))
    monkeypatch.setattr(auto, "choose_engine", chosen)
    engine = AutoEngine(model, SKELETONS, device="cpu", enough=6)
    assert isinstance(engine, OffersDevice)
    crops = torch.from_numpy(tiny_crops(3))
    with torch.inference_mode():
        for _ in range(2):
            resident = engine.resident()
            assert not resident.recordable, "what is played back cannot be looked at"
            assert torch.equal(resident.run(crops), offered.run(crops))
    assert [len(one) for one in seen] == [6]
    np.testing.assert_array_equal(seen[0][:3], crops.numpy())
    assert engine.resident().recordable
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.resident()


def test_a_cpu_offers_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setenv("VITPOSE_HOME", str(tmp_path))
    assert AutoEngine(model, SKELETONS, device="cpu").resident() is None
