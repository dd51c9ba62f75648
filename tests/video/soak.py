"""Ill-treat an RTSP and an MJPEG camera for a while, and print what is left of the process.

python tests/video/soak.py 120
"""

from __future__ import annotations

import gc
import logging
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mjpeg_server import MjpegServer
from rtsp_server import RtspServer, encode

from edge_vseg.video import InputOptions, ReconnectOptions, Source, open_source

OPTIONS = InputOptions(timeout_s=2, reconnect=ReconnectOptions(first_s=0.02, cap_s=0.2, stall_s=0.5))
SIZES_HW = ((64, 96), (240, 320))
DEEDS = ("cut", "freeze", "restart", "set back", "nothing")


class Camera:
    """A server, a slow reader of it, and what was wrong with its frames."""

    def __init__(self, kind: str, pictures: dict[tuple[int, int], list[list[bytes]]]) -> None:
        self.kind, self.pictures = kind, pictures
        self.server = self.serve(0, SIZES_HW[0])
        self.source: Source = open_source(self.server.address, input_options=OPTIONS, codec_motion=kind == "rtsp")
        self.wrong: list[str] = []
        self.read = 0
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def serve(self, port: int, size_hw: tuple[int, int]) -> Any:
        if self.kind == "rtsp":
            return RtspServer(port=port, pictures=self.pictures[size_hw])
        return MjpegServer(port=port, size_hw=size_hw)

    def _read(self) -> None:
        last = (-1, -1)
        for frame in self.source:
            assert frame.pts_ns is not None
            if not (frame.seq > last[0] and frame.pts_ns > last[1]):
                self.wrong.append(f"{last} before {frame.seq}, {frame.pts_ns}")
            last = (frame.seq, frame.pts_ns)
            self.read += 1
            time.sleep(0.03)

    def suffer(self, deed: str, size_hw: tuple[int, int]) -> None:
        server = self.server
        match deed:
            case "cut":
                server.cut()
            case "freeze":
                server.frozen.set()
                threading.Timer(0.8, server.frozen.clear).start()
            case "set back" if self.kind == "rtsp":
                server.set_back_ticks = 90_000
            case "restart":
                server.close()
                self.server = self.serve(server.port, size_hw)


def line(seconds: float, cameras: list[Camera]) -> str:
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    told = [f"{c.kind} {c.source.counts.captured} frames, {c.source.connection.reconnects} reconnects" for c in cameras]
    return f"{seconds:5.0f} s  {resident:.1f} MB  {descriptors} descriptors  {'  '.join(told)}"


def main(seconds: float) -> None:
    logging.disable(logging.WARNING)
    chance = random.Random(1)
    pictures = {size_hw: encode(size_hw) for size_hw in SIZES_HW}
    cameras = [Camera(kind, pictures) for kind in ("rtsp", "mjpeg")]
    started = shown = time.monotonic()
    while (now := time.monotonic()) - started < seconds:
        for camera in cameras:
            camera.suffer(chance.choice(DEEDS), chance.choice(SIZES_HW))
        if now - shown > 10:
            shown = now
            print(line(now - started, cameras), flush=True)
        time.sleep(0.7)
    for camera in cameras:
        camera.source.close()
        camera.reader.join()
        camera.server.close()
        counts = camera.source.counts
        assert counts.captured == counts.dropped + counts.waiting + counts.read
        assert counts.read == camera.read
        print(f"{camera.kind}: {counts}; wrong: {camera.wrong or 'nothing'}")
    print(sorted(thread.name for thread in threading.enumerate()))


if __name__ == "__main__":
    main(float(sys.argv[1]))
