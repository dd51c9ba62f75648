"""Import OpenVINO without its telemetry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGE = "openvino_telemetry"


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Make the telemetry package absent for the length of an import.

    OpenVINO reports its use to an analytics service, from a forked process, and asks nobody; it copes with the
    package's absence. Where somebody else imported them before, nothing can be undone.
    """
    if _PACKAGE in sys.modules:
        yield
        return
    sys.modules[_PACKAGE] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[_PACKAGE]
