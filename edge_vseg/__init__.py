"""edge_vseg: semantic segmentation of live video on edge devices.

A workstation makes a bundle from a trained network and a sample video (``edge_vseg.export``); a device
opens it with :class:`Segmenter` and gets a label map for every frame.
"""

from __future__ import annotations

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.errors import EdgeVsegError, StaleError
from edge_vseg.open_options import OpenOptions
from edge_vseg.pipeline import Fleet, Pipeline, PipelineOptions
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import IGNORE_ID, Frame, Result
from edge_vseg.video import VideoWriter, open_source

__all__ = [
    "IGNORE_ID",
    "Bundle",
    "Deadline",
    "EdgeVsegError",
    "Fleet",
    "Frame",
    "OpenOptions",
    "Pipeline",
    "PipelineOptions",
    "Result",
    "Segmenter",
    "StaleError",
    "VideoWriter",
    "open_bundle",
    "open_source",
]


def __getattr__(name: str) -> str:
    """``edge_vseg.__version__``, read when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("edge-vseg")
    raise AttributeError(f"module 'edge_vseg' has no attribute {name!r}; it has: {', '.join(__all__)}")
