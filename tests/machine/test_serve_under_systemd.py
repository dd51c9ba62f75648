"""The command as systemd starts it: a real process, a real socket, and cameras that freeze or go away."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from service_manager import FakeManager

pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")
pytestmark = [pytest.mark.serial, pytest.mark.slow]

WATCHDOG_S = 2.0
FRAME = np.full((48, 64, 3), (200, 40, 40), np.uint8)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[FakeManager]:
    made = FakeManager.at(tmp_path)
    yield made
    made.close()


class Service:
    """``edge-vseg serve`` with the variables of systemd."""

    def __init__(self, manager: FakeManager, bundle: Path, *words: object, piped: bool = False) -> None:
        fixed = ("--runtime", "reference", "--port", "0", "--threads", "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_vseg.cli", "serve", str(bundle), *map(str, words), *fixed],
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=manager.environment(WATCHDOG_S),
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


class PipeCamera:
    """Raw frames on a pipe, 30 a second, until it freezes."""

    def __init__(self, pipe: object) -> None:
        self._pipe = pipe
        self.frozen = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.frames = 0

    def _run(self) -> None:
        try:
            while not self.frozen.wait(1 / 30):
                self._pipe.write(FRAME.tobytes())  # type: ignore[attr-defined]
                self._pipe.flush()  # type: ignore[attr-defined]
                self.frames += 1
        except OSError:
            pass

    def start(self) -> None:
        self._thread.start()

    def freeze(self) -> None:
        self.frozen.set()
        self._thread.join(10)


class HttpCamera:
    """Motion JPEG over HTTP; closed for good by ``close``."""

    def __init__(self, port: int = 0) -> None:
        jpeg = cv2.imencode(".jpg", FRAME)[1].tobytes()
        stop = self._stop = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
                try:
                    while not stop.wait(0.03):
                        self.wfile.write(head + jpeg + b"\r\n")
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.address = f"http://127.0.0.1:{self.port}/camera"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()


def pings_within(manager: FakeManager, seconds: float) -> int:
    before = len(manager.times_s("WATCHDOG=1"))
    manager.listen_for(seconds)
    return len(manager.times_s("WATCHDOG=1")) - before


def test_from_start_to_stop_over_a_clip(manager: FakeManager, reference_bundle: Path, clip: Path) -> None:
    with Service(manager, reference_bundle, clip, "--repeat") as service:
        assert manager.listen_until(lambda: len(manager.times_s("WATCHDOG=1")) >= 4)
        assert service.stop() == 0
    lines = manager.lines()
    assert lines.count("READY=1") == 1
    assert lines.index("READY=1") < lines.index("WATCHDOG=1")
    assert any(line.startswith(("STATUS=ok, labels", "STATUS=degraded")) for line in lines)
    assert lines[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_ready_waits_for_the_first_result_and_pings_end_when_the_camera_freezes(
    manager: FakeManager, reference_bundle: Path
) -> None:
    with Service(manager, reference_bundle, "stdin:64x48:bgr24", piped=True) as service:
        camera = PipeCamera(service.process.stdin)
        manager.listen_for(4.0)
        assert "READY=1" not in manager.lines(), "there was no frame"
        camera.start()
        assert manager.listen_until(lambda: "READY=1" in manager.lines())
        assert pings_within(manager, 2 * WATCHDOG_S) >= 2
        camera.freeze()
        manager.listen_for(WATCHDOG_S)  # what was fresh grows old
        assert pings_within(manager, 2 * WATCHDOG_S) == 0
        assert [line for line in manager.lines() if line.startswith("STATUS=")][-1].startswith("STATUS=stale")


def test_a_camera_that_goes_away_is_waited_for_but_not_for_ever(manager: FakeManager, reference_bundle: Path) -> None:
    camera, patience_s = HttpCamera(), 6.0
    with Service(manager, reference_bundle, camera.address, "--patience", patience_s):
        assert manager.listen_until(lambda: len(manager.times_s("WATCHDOG=1")) >= 2)
        camera.close()
        assert manager.listen_until(lambda: any("STATUS=stale: reconnecting" in line for line in manager.lines()))
        away_s = time.monotonic()
        manager.listen_for(patience_s + 2 * WATCHDOG_S)
        last_s = manager.times_s("WATCHDOG=1")[-1] - away_s
    assert patience_s - 2 * WATCHDOG_S < last_s < patience_s + WATCHDOG_S


def test_a_camera_that_is_not_there_at_the_start(manager: FakeManager, reference_bundle: Path) -> None:
    """The process neither ends nor calls itself ready; a camera that comes makes it so."""
    absent = HttpCamera()
    absent.close()
    with Service(manager, reference_bundle, absent.address, "--wait") as service:
        assert manager.listen_until(lambda: any("stale: reconnecting" in line for line in manager.lines()))
        manager.listen_for(WATCHDOG_S)
        assert {"READY=1", "WATCHDOG=1"} & set(manager.lines()) == set()
        assert service.process.poll() is None
        camera = HttpCamera(absent.port)
        assert manager.listen_until(lambda: {"READY=1", "WATCHDOG=1"} <= set(manager.lines()))
        camera.close()
        assert service.stop() == 0


def test_without_waiting_a_camera_that_is_not_there_is_an_error(manager: FakeManager, reference_bundle: Path) -> None:
    with Service(manager, reference_bundle, "/dev/video987") as service:
        assert service.process.wait(60) == 1
    assert "READY=1" not in manager.lines()
