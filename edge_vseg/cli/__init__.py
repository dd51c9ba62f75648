"""The command line, ``edge-vseg``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit."""
    _open_closed_streams()
    try:
        from edge_vseg.cli.app import main as run  # here, for it takes seconds on a small board: Ctrl-C may come
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    run()


def _open_closed_streams() -> None:
    """Give output that was closed, as by ``>&-``, a place: the next file that is opened would get its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
