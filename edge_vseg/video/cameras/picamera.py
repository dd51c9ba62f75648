"""Frames from a Raspberry Pi's CSI camera, through picamera2."""

from __future__ import annotations

import concurrent.futures
import importlib
import time
from typing import Any

import numpy as np

from edge_vseg.errors import CameraPackageError, VideoDecodeError, VideoNotFoundError
from edge_vseg.types import Frame, Size
from edge_vseg.video.capture_time import StampClock
from edge_vseg.video.port import Source

_BUFFERS = 3
"""One that is filled, one that is ready, one that is read: fewer lose frames, more only make them older."""


def load_picamera(why: str) -> Any:
    """The class ``Picamera2``.

    Args:
        why: What it is needed for, for the message.

    Raises:
        CameraPackageError: If it is not installed.
    """
    try:
        return importlib.import_module("picamera2").Picamera2
    except ImportError as exc:
        raise CameraPackageError(
            f"{why} needs picamera2 ({exc}); on Raspberry Pi OS: apt install python3-picamera2, and make the"
            " environment with --system-site-packages. A USB camera is /dev/video0"
        ) from exc


class PicameraSource(Source):
    """Frames with the sensor's time stamps."""

    def __init__(self, number: int, *, size_hw: Size, camera_fps: int, name: str, stall_s: float) -> None:
        """Configure the camera and start it.

        Args:
            number: The camera, from 0.
            size_hw: Height and width of its frames.
            camera_fps: Frames per second.
            name: For messages.
            stall_s: Seconds without a frame after which reading fails.

        Raises:
            CameraPackageError: If picamera2 is not installed.
            VideoNotFoundError: If there is no such camera.
            VideoDecodeError: If it does not start.
        """
        super().__init__(name=name)
        library = load_picamera(name)
        self._fps = float(camera_fps)
        self._stall_s = stall_s
        self._stamps = StampClock()
        self._seq = 0
        self._first_ns: int | None = None
        found = len(library.global_camera_info())
        if number >= found:
            raise VideoNotFoundError(f"{name}: libcamera sees {found} cameras, numbered from 0; check the ribbon cable")
        self._camera: Any = None
        try:
            self._camera = library(number)
            self._start(size_hw, camera_fps)
        except (RuntimeError, OSError) as exc:
            if self._camera is not None:
                self._camera.close()
            raise VideoDecodeError(f"{name}: the camera does not start ({exc}); is another program using it?") from exc

    def _start(self, size_hw: Size, camera_fps: int) -> None:
        height, width = size_hw
        period_us = round(1e6 / camera_fps)
        # libcamera names formats from the last byte to the first: its RGB888 is BGR in memory.
        configuration = self._camera.create_video_configuration(
            main={"size": (width, height), "format": "RGB888"},
            buffer_count=_BUFFERS,
            controls={"FrameDurationLimits": (period_us, period_us)},
        )
        self._camera.configure(configuration)
        self._camera.start()

    @property
    def fps(self) -> float | None:
        """The rate that the camera was asked for."""
        return self._fps

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        job = self._camera.capture_request(wait=False)
        try:
            request = self._camera.wait(job, timeout=self._stall_s)
        except (TimeoutError, concurrent.futures.TimeoutError) as exc:  # two classes before Python 3.11
            # The request waits at the head of a queue that stop() would wait for, too, and for ever.
            if flush := getattr(self._camera, "cancel_all_and_flush", None):
                flush()
            raise VideoDecodeError(f"{self.name}: no frame for {self._stall_s:g} s; check the ribbon cable") from exc
        arrived_ns = time.monotonic_ns()
        try:
            image = np.ascontiguousarray(request.make_array("main"), dtype=np.uint8)
            stamp_ns = request.get_metadata().get("SensorTimestamp")
        finally:
            request.release()
        capture_ns = self._stamps.capture_ns(stamp_ns, arrived_ns)
        if self._first_ns is None:
            self._first_ns = capture_ns
        seq, self._seq = self._seq, self._seq + 1
        return Frame(
            image=image, seq=seq, capture_ns=capture_ns, pts_ns=capture_ns - self._first_ns, source_name=self.name
        )

    def _release(self) -> None:
        try:
            self._camera.stop()
        finally:
            self._camera.close()
