"""Video on standard input: a stream that describes itself, or raw frames."""

from __future__ import annotations

import re

from edge_vseg.errors import OptionError
from edge_vseg.video.container import Medium
from edge_vseg.video.options import InputOptions

_RAW = re.compile(r"([1-9]\d*)x([1-9]\d*):([a-z0-9]+)(?::([1-9]\d*(?:\.\d+)?))?")


def is_standard_input(source: str) -> bool:
    """Whether an address means standard input."""
    return source == "-" or source.startswith(("-:", "stdin:"))


def standard_input(source: str, options: InputOptions) -> Medium:
    """What PyAV opens for ``-``, ``stdin:640x480:bgr24`` or ``stdin:640x480:bgr24:30``.

    Args:
        source: The address; sizes are width x height, as FFmpeg writes them.
        options: FFmpeg's own options.

    Raises:
        OptionError: If it is not of that form, or FFmpeg does not know the pixel format.
    """
    if source in ("-", "stdin:"):
        return Medium(address="pipe:0", name="standard input", kind="pipe", options=options.ffmpeg)
    match = _RAW.fullmatch(source.partition(":")[2])
    if match is None:
        raise OptionError(
            f"{source}: expected stdin:WIDTHxHEIGHT:FORMAT, such as stdin:640x480:bgr24 or stdin:640x480:bgr24:30;"
            " - alone reads y4m, Matroska, Motion JPEG and all that describes itself"
        )
    _check_pixel_format(source, match[3])
    raw = {"video_size": f"{match[1]}x{match[2]}", "pixel_format": match[3], "framerate": match[4] or "30"}
    return Medium(
        address="pipe:0", name="standard input", kind="pipe", format="rawvideo", options=raw | dict(options.ffmpeg)
    )


def _check_pixel_format(source: str, name: str) -> None:
    from av.video.format import VideoFormat

    try:
        VideoFormat(name)
    except ValueError as exc:
        raise OptionError(f"{source}: FFmpeg knows no pixel format {name!r}; usual: bgr24, rgb24, yuv420p") from exc
