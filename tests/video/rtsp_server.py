"""An RTSP server on loopback: H.264 over TCP, as cameras do it, that can be killed, frozen, resized and set back.

RFC 2326 (RTSP, interleaved binary data in section 10.12), RFC 3550 (RTP) and RFC 6184 (H.264 payload: single NAL units
and FU-A fragments). Its pictures carry their number; see :mod:`synthetic_video`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from synthetic_video import numbered

CLOCK = 90_000
MAX_PAYLOAD = 1200
NO_PICTURE = b"\x09\xf0"
"""An access unit delimiter."""
LOOP = 32
"""Pictures that go round; each 8th is a keyframe."""


def encode(
    size_hw: tuple[int, int],
    pix_fmt: str = "yuv420p",
    draw: Callable[[int, tuple[int, int]], np.ndarray] = numbered,
) -> list[list[bytes]]:
    """The NAL units of each picture; parameter sets stand before every keyframe."""
    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = size_hw
    codec.pix_fmt, codec.time_base, codec.framerate = pix_fmt, Fraction(1, 25), Fraction(25)
    codec.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": "keyint=8:min-keyint=8:scenecut=0:bframes=0:ref=1:repeat-headers=1",
    }
    packets = []
    for number in range(LOOP):
        picture = av.VideoFrame.from_ndarray(draw(number, size_hw), format="bgr24")
        picture.pts, picture.time_base = number, Fraction(1, 25)
        packets += codec.encode(picture)
    packets += codec.encode(None)
    return [[unit for unit in re.split(rb"\x00\x00\x00?\x01", bytes(packet)) if unit] for packet in packets]


def payloads(unit: bytes) -> Iterator[bytes]:
    """A NAL unit as RTP payloads."""
    if len(unit) <= MAX_PAYLOAD:
        yield unit
        return
    head, body = unit[0], unit[1:]
    for at in range(0, len(body), MAX_PAYLOAD):
        first, last = at == 0, at + MAX_PAYLOAD >= len(body)
        yield bytes([head & 0x60 | 28, first << 7 | last << 6 | head & 0x1F]) + body[at : at + MAX_PAYLOAD]


class RtspServer:
    """Serves every address of its port; each client gets its own run of pictures."""

    def __init__(
        self,
        *,
        port: int = 0,
        size_hw: tuple[int, int] = (64, 96),
        pix_fmt: str = "yuv420p",
        period_s: float = 0.02,
        pictures: list[list[bytes]] | None = None,
    ) -> None:
        self.frozen = threading.Event()
        self.blank = threading.Event()
        """Send packets that hold no picture."""
        self.held = threading.Event()
        """Pictures wait in the server as if in the network; they leave together when it is cleared."""
        self.sent = 0
        self.sent_s = [-float("inf")] * LOOP
        """When each picture of the loop was sent last, ``time.monotonic()``."""
        self.set_back_ticks = 0
        self._stop = threading.Event()
        self._period_s = period_s
        self._pictures = pictures or encode(size_hw, pix_fmt)
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name="rtsp server", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            while not self._stop.is_set():
                request = lines.readline()
                if not request:
                    return
                if request.startswith(b"$"):  # RTCP of the client
                    request += lines.read(max(0, 4 - len(request)))
                    lines.read(max(0, 4 + struct.unpack(">H", request[2:4])[0] - len(request)))
                    continue
                headers = {}
                while (line := lines.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                method = request.split()[0].decode() if request.split() else ""
                client.sendall(self._answer(method, headers))
                if method == "PLAY":
                    self._start(self._play, client)
                if method == "TEARDOWN":
                    return

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        body = ""
        extra = {"Session": "1"}
        match method:
            case "OPTIONS":
                extra = {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"}
            case "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                    "a=control:track\r\n"
                )
                extra = {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
            case "SETUP":
                extra["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
        lines = ["RTSP/1.0 200 OK", f"CSeq: {headers.get('cseq', '0')}", *(f"{n}: {v}" for n, v in extra.items())]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def _play(self, client: socket.socket) -> None:
        number, sequence, ticks = 0, 0, 5_000_000
        waiting = b""
        with contextlib.suppress(OSError):
            while not self._stop.wait(self._period_s):
                if self.frozen.is_set():
                    continue
                ticks -= self.set_back_ticks
                self.set_back_ticks = 0
                self.sent_s[number % LOOP] = time.monotonic()
                units = [NO_PICTURE] if self.blank.is_set() else self._pictures[number % LOOP]
                for unit in units:
                    for payload in (parts := list(payloads(unit))):
                        marker = unit is units[-1] and payload is parts[-1]
                        header = struct.pack(">BBHII", 0x80, marker << 7 | 96, sequence & 0xFFFF, ticks & 0xFFFFFFFF, 7)
                        waiting += b"$\x00" + struct.pack(">H", 12 + len(payload)) + header + payload
                        sequence += 1
                if not self.held.is_set():
                    client.sendall(waiting)
                    waiting = b""
                number, ticks, self.sent = number + 1, ticks + CLOCK // 25, self.sent + 1

    def cut(self) -> None:
        """Drop the clients; the port goes on listening."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._clients.clear()

    def close(self) -> None:
        """Drop the clients, and refuse new ones."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(20)

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
