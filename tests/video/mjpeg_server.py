"""A camera that speaks Motion JPEG over HTTP, as cheap ones do: killed, frozen, resized and made to refuse."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
from synthetic_video import numbered

LOOP = 32


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class MjpegServer:
    """``/camera`` is the stream; everything else is not there."""

    def __init__(
        self, *, port: int = 0, size_hw: tuple[int, int] = (64, 96), period_s: float = 0.02, last: int = 10**9
    ) -> None:
        self.frozen = threading.Event()
        self.refuses = threading.Event()
        self.requests = self.sent = 0
        self._stop = threading.Event()
        self._clients: list[socket.socket] = []
        jpegs = [cv2.imencode(".jpg", numbered(n, size_hw))[1].tobytes() for n in range(LOOP)]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                if outer.refuses.is_set():
                    self.send_error(503)
                    return
                outer._clients.append(self.connection)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                with contextlib.suppress(OSError):
                    while number < last and not outer._stop.wait(period_s):
                        if outer.frozen.is_set():
                            continue
                        jpeg = jpegs[number % LOOP]
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        number += 1
                        outer.sent += 1

            def log_message(self, *_: object) -> None:
                pass

        self._http = _Http(("127.0.0.1", port), Handler)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/camera"

    def cut(self) -> None:
        """Drop the clients; the port goes on listening."""
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._clients.clear()

    def close(self) -> None:
        """Drop the clients, and refuse new ones."""
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self.cut()
        self._thread.join(20)

    def __enter__(self) -> MjpegServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
