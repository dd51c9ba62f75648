"""Live topics for Foxglove: the same messages as in a recording, over the WebSocket that its app connects to."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from edge_vseg.errors import BackendMissingError, EdgeVsegError, OptionError
from edge_vseg.machine.priority import lower_priority
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.fields import Message
from edge_vseg.messages.images import jpeg_image
from edge_vseg.messages.schema import schema_text
from edge_vseg.pipeline.health import HealthState
from edge_vseg.ros2.diagnostics import ERROR, OK, STALE, WARN
from edge_vseg.ros2.outputs import label_image, label_info, overlay_picture
from edge_vseg.serve.live import LivePipeline
from edge_vseg.serve.options import is_loopback

log = logging.getLogger(__name__)

NICENESS = 15
LOOK_S = 0.01
"""How often it looks for new results; to be told would cost the frame lane time."""
REPEAT_S = 1.0
"""How often classes and diagnostics come again, for whoever subscribed since."""
BACKLOG = 64
"""Messages that wait for a slow client at most; the oldest are dropped."""
_LEVELS: Mapping[HealthState, int] = {"ok": OK, "degraded": WARN, "failed": ERROR, "stale": STALE}


class FoxgloveBridge:
    """A server for Foxglove's app, beside the page. It encodes only what somebody has subscribed to.

    Every camera has the topics ``labels`` (``mono8``), ``overlay/compressed``, ``camera/compressed`` and
    ``label_info`` under ``/edge_vseg``, or ``/edge_vseg/NAME`` if there are several; ``/diagnostics`` is for all.
    Frames that are over before their turn are left out. A client that is slow loses messages.

    Attributes:
        port: Where it listens.

    Args:
        cameras: The pipelines by name.
        port: Where to listen; 0 takes a free port.
        host: A loopback address: the protocol knows no token.

    Raises:
        BackendMissingError: If the package ``foxglove-sdk`` is missing.
        OptionError: If others could reach it, or the port cannot be had.
    """

    def __init__(self, cameras: Mapping[str, LivePipeline], *, port: int, host: str = "127.0.0.1") -> None:
        if not is_loopback(host):
            raise OptionError(
                f"others could watch the camera at {host}: Foxglove's protocol asks for no token; keep it on 127.0.0.1 "
                f"and use an SSH tunnel (ssh -L {port}:127.0.0.1:{port} ROBOT)"
            )
        foxglove = _load_foxglove()
        self._context = context = foxglove.Context()  # with the last reference to it, its channels end
        try:
            self._server = foxglove.start_server(
                name="edge-vseg", host=host, port=port, context=context, message_backlog_size=BACKLOG
            )
        except Exception as exc:  # the package raises plain RuntimeErrors
            raise OptionError(f"Foxglove's server cannot listen on {host}, port {port}: {exc}; give another") from exc
        self.port: int = self._server.port
        single = len(cameras) == 1
        self._cameras = [
            _CameraTopics(foxglove, context, live, "/edge_vseg" if single else f"/edge_vseg/{name}")
            for name, live in cameras.items()
        ]
        self._diagnostics = _Topic(foxglove, context, "/diagnostics", ros.DiagnosticArray)
        self._named = dict(cameras)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-vseg-foxglove", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Drop all clients and stop; calling it twice does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join(5.0)
        self._server.stop()

    def _run(self) -> None:
        lower_priority(NICENESS)
        repeated_s = 0.0
        while not self._stop.wait(LOOK_S):
            for camera in self._cameras:
                camera.send_newest()
            if time.monotonic() - repeated_s > REPEAT_S:
                repeated_s = time.monotonic()
                for camera in self._cameras:
                    camera.send_classes()
                self._diagnostics.send(lambda: _diagnose(self._named), time.time_ns())


class _Topic:
    """One topic; a message is made only if somebody has subscribed."""

    def __init__(self, foxglove: ModuleType, context: Any, name: str, kind: type[Message]) -> None:
        schema = foxglove.Schema(name=kind.type_name, encoding="ros2msg", data=schema_text(kind).encode())
        self._name = name
        self._channel = foxglove.Channel(name, schema=schema, message_encoding="cdr", context=context)

    def send(self, make: Callable[[], Message], time_ns: int) -> None:
        if not self._channel.has_sinks():
            return
        try:
            self._channel.log(encode_message(make()), log_time=time_ns)
        except EdgeVsegError as exc:
            log.warning("no message on %s: %s", self._name, exc)


class _CameraTopics:
    """The topics of a camera."""

    def __init__(self, foxglove: ModuleType, context: Any, live: LivePipeline, base: str) -> None:
        self._live = live
        self._frame_id = base.rpartition("/")[2] if base.count("/") > 1 else "camera"
        self._sent = 0
        self._labels = _Topic(foxglove, context, f"{base}/labels", ros.Image)
        self._overlay = _Topic(foxglove, context, f"{base}/overlay/compressed", ros.CompressedImage)
        self._camera = _Topic(foxglove, context, f"{base}/camera/compressed", ros.CompressedImage)
        self._classes = _Topic(foxglove, context, f"{base}/label_info", ros.LabelInfo)

    def send_newest(self) -> None:
        seen = self._live.recorder.newest
        if seen is None or seen.number == self._sent:
            return
        self._sent = seen.number
        stamp_ns = _wall_ns(seen.result.capture_ns)
        header, labels = self._header(stamp_ns), self._live.labels
        self._labels.send(lambda: label_image(seen.result.labels, header), stamp_ns)
        self._overlay.send(lambda: jpeg_image(overlay_picture(seen.image, seen.result, labels), header), stamp_ns)
        self._camera.send(lambda: jpeg_image(seen.image, header), stamp_ns)

    def send_classes(self) -> None:
        now_ns = time.time_ns()
        self._classes.send(lambda: label_info(self._live.labels, self._header(now_ns)), now_ns)

    def _header(self, stamp_ns: int) -> ros.Header:
        return ros.Header(stamp=ros.Time.from_ns(stamp_ns), frame_id=self._frame_id)


def _diagnose(cameras: Mapping[str, LivePipeline]) -> ros.DiagnosticArray:
    return ros.DiagnosticArray(
        header=ros.Header(stamp=ros.Time.from_ns(time.time_ns()), frame_id=""),
        status=tuple(_status(name, live) for name, live in cameras.items()),
    )


def _status(name: str, live: LivePipeline) -> ros.DiagnosticStatus:
    health, counts = live.health, live.counts
    told = {
        "source": live.source_name,
        "age_ms": f"{health.age_ms:.0f}",
        "captured": counts.captured,
        "delivered": counts.delivered,
        "dropped": counts.dropped,
        "failed": counts.failed,
        "deadline missed": live.recorder.missed,
        "restarts": health.restarts,
        "reconnects": health.reconnects,
    }
    return ros.DiagnosticStatus(
        level=_LEVELS[health.state],
        name=f"edge_vseg: {name}",
        message=health.reason or health.state,
        hardware_id=live.source_name,
        values=tuple(ros.KeyValue(key=key, value=str(value)) for key, value in told.items()),
    )


def _wall_ns(monotonic_ns: int) -> int:
    return time.time_ns() - (time.monotonic_ns() - monotonic_ns)


def _load_foxglove() -> ModuleType:
    try:
        return importlib.import_module("foxglove")
    except ImportError as exc:
        raise BackendMissingError(
            f"--foxglove needs foxglove-sdk, which cannot be loaded ({exc}): pip install 'edge-vseg[foxglove]'"
        ) from exc
