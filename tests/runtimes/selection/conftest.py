"""A runtime whose variants take as long as they are told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paced_variants import PACED


@pytest.fixture
def paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the paced runtime, installed as a third party's package."""
    site = tmp_path / "site"
    info = site / "plugin_paced-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "plugin_paced.py").write_text(PACED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin_paced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edge_vseg.runtimes]\npaced = plugin_paced:Plugin\n")
    monkeypatch.syspath_prepend(site)
    yield importlib.import_module("plugin_paced")
    del sys.modules["plugin_paced"]
