"""Cameras on the ribbon cable: picamera2 on a Raspberry Pi, GStreamer's ``nvarguscamerasrc`` on a Jetson."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from edge_vseg.errors import OptionError
from edge_vseg.input_files import whole_number
from edge_vseg.types import Size
from edge_vseg.video.address import split_address
from edge_vseg.video.cameras.gstreamer import GStreamerSource
from edge_vseg.video.cameras.picamera import PicameraSource
from edge_vseg.video.options import InputOptions
from edge_vseg.video.port import Source

JETSON_RELEASE = Path("/etc/nv_tegra_release")
"""Every Jetson Linux has it."""
_LAST_CAMERA = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class CsiCamera:
    """A camera by its number, and what it is asked for.

    Attributes:
        number: From 0, in the order of the sockets.
        size_hw: Height and width of its frames.
        fps: Frames per second.
    """

    number: int
    size_hw: Size = (720, 1280)
    fps: int = 30


def parse_csi(address: str) -> CsiCamera:
    """Read ``csi://0?size=1280x720&fps=30``; the size is width x height, as camera makers write it.

    Raises:
        OptionError: If it is not of that form.
    """
    parts = split_address(address)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    size = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", query.pop("size", "1280x720"))
    fps = re.fullmatch(r"[1-9][0-9]{0,3}", query.pop("fps", "30"))
    number = whole_number(parts.netloc, most=_LAST_CAMERA)
    if number is None or parts.path not in ("", "/") or size is None or fps is None or query:
        raise OptionError(f"{address}: expected csi://NUMBER, such as csi://0 or csi://0?size=1280x720&fps=30")
    return CsiCamera(number=number, size_hw=(int(size[2]), int(size[1])), fps=int(fps[0]))


def jetson_pipeline(camera: CsiCamera) -> str:
    """The elements that give a Jetson camera's frames in ordinary memory."""
    height, width = camera.size_hw
    return (
        f"nvarguscamerasrc sensor-id={camera.number} !"
        f" video/x-raw(memory:NVMM),width={width},height={height},format=NV12,framerate={camera.fps}/1 !"
        " nvvidconv ! video/x-raw,format=BGRx"
    )


def open_csi(address: str, options: InputOptions, *, release: Path = JETSON_RELEASE) -> Source:
    """Open a camera by what this machine is.

    Args:
        address: ``csi://NUMBER``.
        options: Timeouts.
        release: The file that tells a Jetson.

    Raises:
        CameraPackageError: If picamera2 or GStreamer is not installed.
        VideoNotFoundError: If there is no such camera.
        VideoDecodeError: If it does not start.
        OptionError: If the address is malformed.
    """
    camera = parse_csi(address)
    if release.exists():
        return GStreamerSource(
            jetson_pipeline(camera), name=address, timeout_s=options.timeout_s, stall_s=options.stall_s
        )
    return PicameraSource(
        camera.number, size_hw=camera.size_hw, camera_fps=camera.fps, name=address, stall_s=options.stall_s
    )
