import pytest
import torch

from vitpose.core.errors import UsageError
from vitpose.models.devices import pick_device


def test_known_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpu", "cpu:0", torch.device("cpu")):
        assert pick_device(name).type == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [str(pick_device(name)) for name in ("cuda", "cuda:1", "mps")] == ["cuda", "cuda:1", "mps"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "mps"


@pytest.mark.parametrize(
    "name", ["xpu", "meta", "hip", "vulkan", "privateuseone", "xpu:1", "CPU", "cuda:-1", "", "gpu"]
)
def test_other_devices_are_refused_at_once(name: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown device '{name}'; (did you mean|known)"):
        pick_device(name)


def test_the_nearest_name_is_given() -> None:
    for given, meant in (("cude", "cuda"), ("cuda:x", "cuda:1"), ("msp", "mps"), ("xpu", "cpu")):
        with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
            pick_device(given)


def test_devices_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda:1", "cuda:256", "cpu:1", "mps", "mps:1"):
        with pytest.raises(UsageError, match=f"device '{name}' is not here"):
            pick_device(name)
