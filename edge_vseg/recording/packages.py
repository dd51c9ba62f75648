"""Load the package ``mcap``."""

from __future__ import annotations

import importlib
from types import ModuleType

from edge_vseg.errors import RecordingError


def load_mcap(module: str) -> ModuleType:
    """A module of the package ``mcap``, such as ``writer``.

    Raises:
        RecordingError: If it is not installed.
    """
    try:
        return importlib.import_module(f"mcap.{module}")
    except ImportError as exc:
        raise RecordingError(
            f"MCAP files need the package mcap, which cannot be loaded ({exc}): pip install 'edge-vseg[mcap]'"
        ) from exc
