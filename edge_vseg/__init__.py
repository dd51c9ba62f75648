"""edge_vseg: semantic segmentation of live video on edge devices.

A workstation makes a bundle from a trained network and a sample video (``edge_vseg.export``); a device
opens it with :class:`Segmenter` and gets a label map for every frame.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_vseg.bundle import Bundle, open_bundle
    from edge_vseg.errors import EdgeVsegError, StaleError
    from edge_vseg.open_options import OpenOptions
    from edge_vseg.pipeline import Fleet, Pipeline, PipelineOptions
    from edge_vseg.scheduling.policies import Deadline
    from edge_vseg.segmenter import Segmenter
    from edge_vseg.types import IGNORE_ID, Frame, Result
    from edge_vseg.video import VideoWriter, open_source

    __version__: str

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

_HOMES = {
    "bundle": ("Bundle", "open_bundle"),
    "errors": ("EdgeVsegError", "StaleError"),
    "open_options": ("OpenOptions",),
    "pipeline": ("Fleet", "Pipeline", "PipelineOptions"),
    "scheduling.policies": ("Deadline",),
    "segmenter": ("Segmenter",),
    "types": ("IGNORE_ID", "Frame", "Result"),
    "video": ("VideoWriter", "open_source"),
}
"""What is imported when it is first asked for: all of it takes half a second on a workstation, more on a board."""


if not TYPE_CHECKING:  # or type checkers take every name for one that there is

    def __getattr__(name: str) -> Any:
        """A public name or module when it is first asked for, and ``edge_vseg.__version__``."""
        if name == "__version__":
            from importlib.metadata import version

            return version("edge-vseg")
        for home, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
                return value
        if not name.startswith("_"):
            try:
                return import_module(f"{__name__}.{name}")
            except ModuleNotFoundError as exc:
                if exc.name != f"{__name__}.{name}":
                    raise
        raise AttributeError(f"module 'edge_vseg' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
