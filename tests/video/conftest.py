"""Where the real videos are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_videos() -> Path:
    folder = Path(os.environ.get("EDGE_VSEG_DATA", PROJECT.parent / "shared" / "data")) / "videos"
    if not folder.is_dir():
        pytest.skip(f"the real videos are not at {folder}; set EDGE_VSEG_DATA")
    return folder
