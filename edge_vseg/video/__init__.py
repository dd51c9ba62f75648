"""Read frames from video files, image folders, cameras and streams; write videos."""

from edge_vseg.video.cameras.own import Mailbox
from edge_vseg.video.opening import open_source
from edge_vseg.video.options import BufferOptions, InputOptions, ReconnectOptions
from edge_vseg.video.port import Connection, FrameCounts, Source
from edge_vseg.video.writer import VideoWriter

__all__ = [
    "BufferOptions",
    "Connection",
    "FrameCounts",
    "InputOptions",
    "Mailbox",
    "ReconnectOptions",
    "Source",
    "VideoWriter",
    "open_source",
]
