from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tiny_network import ASSETS, ROOT, Tiny, tiny_spec


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    with np.load(ASSETS / "tiny.npz") as arrays:
        return Tiny(frame=arrays["frame"], scores=arrays["scores"], spec=tiny_spec())


@pytest.fixture(scope="session")
def models_dir() -> Path:
    data = Path(os.environ.get("EDGE_VSEG_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "models").is_dir():
        pytest.skip(f"no models in {data}: set EDGE_VSEG_DATA")
    return data / "models"
