"""What the Arm tests compare with, and where they write what they found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from label_reference import Reference, read_reference

from edge_vseg.runtimes.cpu import cpu_features


@pytest.fixture(scope="session")
def reference() -> Reference:
    folder = os.environ.get("EDGE_VSEG_REFERENCE_LABELS", "")
    if not folder:
        pytest.skip("no label maps of another machine; `make test-arm64` makes them")
    return read_reference(Path(folder))


@pytest.fixture(scope="session")
def note() -> Callable[..., None]:
    """Write a line of figures for whoever started the tests."""

    def write(**figures: object) -> None:
        path = os.environ.get("EDGE_VSEG_FIGURES", "")
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"cpu": os.environ.get("EDGE_VSEG_CPU", cpu_features().model), **figures}) + "\n")

    return write
