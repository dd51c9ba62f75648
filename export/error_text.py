"""One line out of the many that a tool's error message has."""

from __future__ import annotations

from edge_vseg.errors import EdgeVsegError
from edge_vseg.runtimes.graph_checks import short_reason


def first_line(exc: Exception) -> str:
    """The first line of a message: torch and the converters say there what is wrong."""
    return _lines(exc)[0]


def last_line(exc: Exception) -> str:
    """The last line of a message: ONNX and ONNX Runtime say there what is wrong, after where they were."""
    return _lines(exc)[-1]


def failure_reason(exc: Exception) -> str:
    """Why a part of an export is left out: an error of our own says so itself, one of a tool with its kind."""
    if isinstance(exc, EdgeVsegError):
        return str(exc)
    # OpenVINO says first where in its own sources it was, then at which node, and then what is wrong.
    said = short_reason(exc) if str(exc).startswith("Exception from ") else first_line(exc)
    return f"{type(exc).__name__}: {said}"


def _lines(exc: Exception) -> list[str]:
    return str(exc).strip().splitlines() or [type(exc).__name__]
