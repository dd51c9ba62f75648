"""Frames in, and overlays out: video files, image folders, cameras and network streams."""

from edge_vseg.video.source import Source
from edge_vseg.video.sources import open_source
from edge_vseg.video.writer import VideoWriter

__all__ = ["Source", "VideoWriter", "open_source"]
