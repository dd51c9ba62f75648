"""One line out of the many that a tool's error message has."""

from __future__ import annotations

from edge_vseg.errors import EdgeVsegError


def first_line(exc: Exception) -> str:
    """The first line of a message: torch and the converters say there what is wrong."""
    return _lines(exc)[0]


def last_line(exc: Exception) -> str:
    """The last line of a message: ONNX and ONNX Runtime say there what is wrong, after where they were."""
    return _lines(exc)[-1]


def failure_reason(exc: Exception) -> str:
    """Why a part of an export is left out: an error of our own says so itself, one of a tool with its kind."""
    return str(exc) if isinstance(exc, EdgeVsegError) else f"{type(exc).__name__}: {first_line(exc)}"


def _lines(exc: Exception) -> list[str]:
    said = [line.strip() for line in str(exc).splitlines()]
    # OpenVINO begins with its own source files.
    kept = [line for line in said if line and not line.startswith("Exception from ")]
    return kept or [type(exc).__name__]
