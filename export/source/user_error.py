"""Say what went wrong in the user's own code, out of what torch wraps around it."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def user_error(exc: BaseException) -> str:
    """The innermost cause of an exception in one line, with file and line of the user's code where there is one.

    torch.export and torch.onnx put banners with advice to their own developers around what a network raised.
    """
    while exc.__cause__ is not None:
        exc = exc.__cause__
    frame = _last_own_frame(exc)
    message = next((line for line in _ESCAPES.sub("", str(exc)).splitlines() if line.strip()), "").strip().rstrip(".;")
    said = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    if frame is None:
        return said
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{said} ({Path(frame.filename).name}:{frame.lineno} in {frame.name}: {code})"


def _last_own_frame(exc: BaseException) -> traceback.FrameSummary | None:
    """Where the exception left the user's code, or a library that is neither torch nor ours."""
    own = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith((_TORCH, _HERE, "<")) and "importlib" not in frame.filename
    ]
    return own[-1] if own else None
