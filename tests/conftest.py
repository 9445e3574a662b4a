"""Fixtures every test folder shares."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def shared_folder() -> Path | None:
    """Return the folder with real pictures and labels that lies beside the checkout, if there is one."""
    folder = Path(os.environ.get("VITPOSE_SHARED", Path(__file__).parents[2] / "shared"))
    return folder if (folder / "data").is_dir() else None


# Machines under load are slow now and then, and no test here is about time.
settings.register_profile("vitpose", deadline=None)
settings.load_profile("vitpose")


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("the real pictures and labels (a folder `shared` beside the checkout) are not here")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
