"""What happens to a V4L2 camera, in a process whose ioctls :file:`v4l2_device.c` answers; prints what was seen."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
from pathlib import Path

from edge_vseg.errors import VideoError
from edge_vseg.types import Frame
from edge_vseg.video import InputOptions, ReconnectOptions, Source, open_source

PATIENCE_S = 20.0
PERIOD_S = 0.01
OLD_S = 0.5
"""How old the driver says that its frames are: so its stamps can be told from arrivals."""


class Device:
    """The other end of the pipe."""

    def __init__(self, path: Path, size: str) -> None:
        self.path = path
        path.with_name(f"{path.name}.size").write_text(size)
        os.mkfifo(path)
        self.frozen = threading.Event()
        self._gone = threading.Event()
        self._pipe = os.open(path, os.O_RDWR)
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        grey = 0
        while not self._gone.wait(PERIOD_S):
            if not self.frozen.is_set():
                stamp_us = time.monotonic_ns() // 1000 - round(OLD_S * 1e6)
                os.write(self._pipe, struct.pack("<cqB", b"F", stamp_us, 50 + grey % 150))
                grey += 1

    def unplug(self) -> None:
        self._gone.set()
        self._thread.join()
        self.path.unlink()
        os.write(self._pipe, struct.pack("<cqB", b"U", 0, 0))
        os.close(self._pipe)


def until_reconnected(source: Source, count: int) -> Frame:
    while True:
        frame = next(source)
        if source.connection.reconnects == count:
            return frame


def wait_until_lost(source: Source) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while source.connection.state != "reconnecting":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return source.connection.reason


def main(folder: Path) -> None:
    seen: dict[str, object] = {}
    link = folder / "by-id"
    device = Device(folder / "video0", "64 48")
    link.symlink_to(device.path)
    options = InputOptions(reconnect=ReconnectOptions(first_s=0.02, cap_s=0.05, stall_s=0.3))
    with open_source(f"v4l2://{link}", input_options=options) as source:
        frames = [next(source) for _ in range(5)]
        now_ns = time.monotonic_ns()
        seen["fps"] = source.fps
        seen["ages_s"] = [(now_ns - frame.capture_ns) / 1e9 for frame in frames]
        device.frozen.set()
        seen["frozen"] = wait_until_lost(source)
        device.frozen.clear()
        frames.append(until_reconnected(source, 1))
        device.unplug()
        seen["unplugged"] = wait_until_lost(source)
        link.unlink()
        device = Device(folder / "video1", "32 24")
        link.symlink_to(device.path)
        frames.append(until_reconnected(source, 2))
        frames.append(next(source))
        device.frozen.set()
        started = time.monotonic()
        source.close()
        seen["closing_s"] = time.monotonic() - started
    seen["threads"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("read ")]
    seen["descriptors"] = sum(os.path.realpath(f"/proc/self/fd/{fd}") == str(device.path) for fd in os.listdir("/proc/self/fd"))  # fmt: skip  # noqa: PTH208, E501
    device.unplug()
    seen["shapes"] = [frame.image.shape for frame in frames]
    seen["greys"] = [int(frame.image.mean()) for frame in frames]
    seen["seqs"] = [frame.seq for frame in frames]
    seen["pts_ns"] = [frame.pts_ns for frame in frames]
    try:
        open_source(f"v4l2://{link}")
    except VideoError as exc:
        seen["missing"] = str(exc)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
