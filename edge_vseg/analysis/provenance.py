"""Versions of the software behind a measurement."""

from __future__ import annotations

import platform
from importlib import metadata

from edge_vseg.runtimes import get_runtime

PACKAGES = ("edge-vseg", "numpy", "opencv-python-headless", "opencv-python", "av")


def versions(runtime: str) -> dict[str, str]:
    """Versions by name: Python, the runtime, and those of :data:`PACKAGES` that are installed."""
    installed = {"python": platform.python_version(), runtime: get_runtime(runtime).version()}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
