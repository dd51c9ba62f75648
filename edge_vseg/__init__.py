"""edge_vseg: semantic segmentation of live video on edge devices.

A workstation makes a bundle from a trained network and a sample video (``edge_vseg.export``); a device
opens it with :class:`Segmenter` and gets a label map for every frame.
"""

from __future__ import annotations

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.errors import EdgeVsegError
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.types import IGNORE_ID, Frame, Result
from edge_vseg.video import VideoWriter, open_source

__all__ = [
    "IGNORE_ID",
    "Bundle",
    "Deadline",
    "EdgeVsegError",
    "Frame",
    "OpenOptions",
    "Result",
    "Segmenter",
    "VideoWriter",
    "open_bundle",
    "open_source",
]
