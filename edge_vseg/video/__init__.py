"""Read frames from video files, image folders, cameras and streams; write videos."""

from edge_vseg.video.opening import InputOptions, open_source
from edge_vseg.video.port import Source
from edge_vseg.video.writer import VideoWriter

__all__ = ["InputOptions", "Source", "VideoWriter", "open_source"]
