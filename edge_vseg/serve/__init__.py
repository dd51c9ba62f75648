"""See a pipeline in a browser, change its schedule there, and watch it with Prometheus and a supervisor."""

from edge_vseg.serve.foxglove_bridge import FoxgloveBridge
from edge_vseg.serve.live import LivePipeline, Workplace
from edge_vseg.serve.options import ServeOptions, make_token
from edge_vseg.serve.recorder import ObservedSegmenter
from edge_vseg.serve.repeated import play_repeatedly
from edge_vseg.serve.server import Server, serve_until_stopped

__all__ = [
    "FoxgloveBridge",
    "LivePipeline",
    "ObservedSegmenter",
    "ServeOptions",
    "Server",
    "Workplace",
    "make_token",
    "play_repeatedly",
    "serve_until_stopped",
]
