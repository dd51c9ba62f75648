"""The command line, ``edge-vseg``."""

from edge_vseg.cli.app import main

__all__ = ["main"]
