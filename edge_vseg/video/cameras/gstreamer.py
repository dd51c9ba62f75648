"""Frames from a GStreamer pipeline, through GStreamer's own Python bindings."""

from __future__ import annotations

import importlib
import re
import time
from typing import Any

import numpy as np

from edge_vseg.errors import CameraPackageError, OptionError, VideoDecodeError
from edge_vseg.types import Frame, Image, Size
from edge_vseg.video.address import mask_addresses
from edge_vseg.video.capture_time import StampClock
from edge_vseg.video.port import Source

_SINK = "edge_vseg_sink"
_SLICE_S = 0.5
"""How long one wait for a frame lasts, before :meth:`GStreamerSource.interrupt` is looked at."""


def full_pipeline(pipeline: str) -> str:
    """A pipeline that ends in the sink that frames are taken from.

    Args:
        pipeline: Elements of the user's, up to raw video of any format.

    Returns:
        The description for ``gst_parse_launch``: BGR, one frame in the sink, newer ones replace it.

    Raises:
        OptionError: If the pipeline is empty or has a sink already.
    """
    inner = pipeline.strip().rstrip("!").strip()
    if not inner.partition("!")[0].strip():
        raise OptionError("gst: needs a pipeline, such as gst:v4l2src device=/dev/video0 ! jpegdec")
    if "appsink" in inner:
        raise OptionError("the pipeline has an appsink; end it in raw video, and leave the sink to edge_vseg")
    return f"{inner} ! videoconvert ! video/x-raw,format=BGR ! appsink name={_SINK} max-buffers=1 drop=true sync=false"


def load_gstreamer(why: str) -> Any:
    """GStreamer's bindings, initialised.

    Args:
        why: What they are needed for, for the message.

    Raises:
        CameraPackageError: If PyGObject or GStreamer is not installed.
    """
    try:
        gi = importlib.import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        gst = importlib.import_module("gi.repository.Gst")
        importlib.import_module("gi.repository.GstApp")
    except (ImportError, ValueError) as exc:
        raise CameraPackageError(
            f"{why} needs GStreamer's Python bindings ({exc}); install them with the system: apt install python3-gi"
            " gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good, and make the environment with"
            " --system-site-packages"
        ) from exc
    gst.init(None)
    return gst


class GStreamerSource(Source):
    """Frames of a pipeline, newest only: GStreamer's sink holds one and replaces it."""

    def __init__(self, pipeline: str, *, name: str, timeout_s: float, stall_s: float) -> None:
        """Build the pipeline and start it.

        Args:
            pipeline: The user's, without a sink.
            name: For messages.
            timeout_s: Seconds that the start may take.
            stall_s: Seconds without a frame after which reading fails.

        Raises:
            CameraPackageError: If GStreamer is not installed.
            VideoDecodeError: If the pipeline cannot be built or started.
            OptionError: If the pipeline is empty or has a sink.
        """
        super().__init__(name=name)
        described = full_pipeline(pipeline)
        self._gst = gst = load_gstreamer(name)
        self._stall_s = stall_s
        self._stopped = False
        self._stamps = StampClock(by_driver=False)
        self._seq = 0
        self._first_ns: int | None = None
        try:
            self._pipeline = gst.parse_launch(described)
        except Exception as exc:  # GLib.Error, whose module is known only once it is loaded
            # It repeats values of properties: "could not set property "user-pw" in element "rtspsrc" to "..."".
            reason = mask_addresses(re.sub(r'(?s) to ".*"', "", str(exc)))
            raise VideoDecodeError(
                f"{name}: the pipeline cannot be built ({reason}); try it with gst-launch-1.0"
            ) from None
        self._sink = self._pipeline.get_by_name(_SINK)
        self._pipeline.set_state(gst.State.PLAYING)
        outcome, _, _ = self._pipeline.get_state(int(timeout_s * gst.SECOND))
        if outcome == gst.StateChangeReturn.FAILURE:
            reason = self._error() or "it does not start"
            self._pipeline.set_state(gst.State.NULL)
            raise VideoDecodeError(f"{name}: {reason}; try the pipeline with gst-launch-1.0")

    @property
    def fps(self) -> float | None:
        """Unknown."""
        return None

    @property
    def is_live(self) -> bool:
        """Always true: the sink drops what is not taken."""
        return True

    def interrupt(self) -> None:
        """End the wait for a frame within half a second."""
        self._stopped = True

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        deadline = time.monotonic() + self._stall_s
        while not self._stopped:
            sample = self._sink.emit("try-pull-sample", int(_SLICE_S * self._gst.SECOND))
            if sample is not None:
                return self._frame(sample, time.monotonic_ns())
            reason = self._error()
            if reason:
                raise VideoDecodeError(f"{self.name}: {reason}; try the pipeline with gst-launch-1.0")
            if self._sink.get_property("eos"):
                return None
            if time.monotonic() > deadline:
                raise VideoDecodeError(f"{self.name}: no frame for {self._stall_s:g} s; check the camera")
        return None

    def _frame(self, sample: Any, arrived_ns: int) -> Frame:
        buffer = sample.get_buffer()
        caps = sample.get_caps().get_structure(0)
        size_hw = (int(caps.get_value("height")), int(caps.get_value("width")))
        known, mapped = buffer.map(self._gst.MapFlags.READ)
        if not known:
            raise VideoDecodeError(f"{self.name}: a frame cannot be read from memory; end the pipeline in raw video")
        try:
            image = _rows(mapped.data, size_hw)
        finally:
            buffer.unmap(mapped)
        # A stamp counts from when the pipeline started to run, by its clock: usually the monotonic one.
        has_stamp = buffer.pts != self._gst.CLOCK_TIME_NONE
        stamp_ns = buffer.pts + self._pipeline.get_base_time() if has_stamp else None
        capture_ns = self._stamps.capture_ns(stamp_ns, arrived_ns)
        if self._first_ns is None:
            self._first_ns = capture_ns
        seq, self._seq = self._seq, self._seq + 1
        return Frame(
            image=image, seq=seq, capture_ns=capture_ns, pts_ns=capture_ns - self._first_ns, source_name=self.name
        )

    def _error(self) -> str:
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        return "" if message is None else mask_addresses(str(message.parse_error()[0]))

    def _release(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)


def _rows(data: Any, size_hw: Size) -> Image:
    """The picture in a buffer, whose rows GStreamer pads to a multiple of four bytes."""
    height, width = size_hw
    stride = -(-width * 3 // 4) * 4
    flat = np.frombuffer(data, np.uint8, count=height * stride)
    return flat.reshape(height, stride)[:, : width * 3].reshape(height, width, 3).copy()
