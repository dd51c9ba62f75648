"""Wait for a V4L2 camera's next frame with a limit, because FFmpeg's read of one has none."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path
from typing import Literal, TypeAlias

from edge_vseg.errors import VideoDecodeError

Readiness: TypeAlias = Literal["ready", "silent", "interrupted"]

_FDS = Path("/proc/self/fd")


class DeviceWatch:
    """Polls the descriptor that FFmpeg opened.

    FFmpeg fetches a frame by an ioctl that blocks until there is one, and asks nobody whether to go on. A poll before
    it has a timeout, and can be ended from another thread. The descriptor is the one that appeared between construction
    and :meth:`opened` and leads to the device; if there is none, nothing is waited for, and a read may block.
    """

    def __init__(self, device: str) -> None:
        """Look at the open descriptors; call it before the device is opened.

        Args:
            device: Its path, which may be a link.

        Raises:
            VideoDecodeError: If the process has no descriptor left for it.
        """
        self._device = device
        self._before = self._descriptors()
        self._descriptor: int | None = None
        try:
            self._woken, self._wake = os.pipe()
        except OSError as exc:
            raise self._refusal(exc) from exc
        self._closing = threading.Lock()
        self._closed = False

    def opened(self) -> None:
        """Look again, once the device is open.

        Raises:
            VideoDecodeError: If the process has no descriptor left to look with.
        """
        new = self._descriptors() - self._before
        self._descriptor = min(new, default=None)

    def wait(self, timeout_s: float) -> Readiness:
        """Wait until the device has a frame or an error, or time is over, or :meth:`interrupt` is called."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if self._descriptor is None:
            return "interrupted" if poll.poll(0) else "ready"
        poll.register(self._descriptor, select.POLLIN)
        events = dict(poll.poll(timeout_s * 1000))
        if self._woken in events:
            return "interrupted"
        return "ready" if events else "silent"

    def interrupt(self) -> None:
        """End a wait, from any thread; later ones too."""
        with self._closing:
            if not self._closed:
                os.write(self._wake, b".")

    def close(self) -> None:
        """Free the pipe. Calling it twice does nothing."""
        with self._closing:
            if not self._closed:
                self._closed = True
                os.close(self._woken)
                os.close(self._wake)

    def _descriptors(self) -> set[int]:
        device = os.path.realpath(self._device)
        found = set()
        try:
            entries = os.listdir(_FDS) if _FDS.is_dir() else []  # noqa: PTH208
        except OSError as exc:
            raise self._refusal(exc) from exc
        for entry in entries:
            try:
                target = os.readlink(_FDS / entry)  # noqa: PTH115
            except OSError:  # it was closed meanwhile
                continue
            if target == device:
                found.add(int(entry))
        return found

    def _refusal(self, exc: OSError) -> VideoDecodeError:
        return VideoDecodeError(
            f"{self._device}: cannot be watched ({exc.strerror}); close files of this process, or raise its limit"
            " (ulimit -n)"
        )
