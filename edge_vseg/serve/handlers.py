"""What the server answers: the page, its data, metrics, health and the newest label map."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
from aiohttp import hdrs, web

from edge_vseg.errors import EdgeVsegError, OptionError, PipelineError
from edge_vseg.machine.priority import lower_priority
from edge_vseg.pipeline.health import WORST_FIRST
from edge_vseg.serve.live import ChangeUnderWayError, LivePipeline
from edge_vseg.serve.machine_meter import MachineMeter
from edge_vseg.serve.metrics import make_registry, render_metrics
from edge_vseg.serve.options import ServeOptions
from edge_vseg.serve.pictures import View, describe_pixel, draw_view, encode_png
from edge_vseg.serve.recorder import Seen
from edge_vseg.serve.schedule import ScheduleRequest
from edge_vseg.serve.served_camera import ServedCamera
from edge_vseg.serve.state import describe_health, describe_server
from edge_vseg.serve.viewer import HEARTBEAT_S, MAX_MESSAGE, Viewer

T = TypeVar("T")

NICENESS = 15
"""Of the thread that draws and encodes: after the frame lane, and after the background lane, which has 10."""
MAX_WAITING = 8
"""Answers that may wait for that thread; more are refused, so that a flood of requests cannot pile up."""
CLOSE_S = 2.0
"""How long a page may take to say goodbye when the server stops."""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_PAGE_TYPES = {
    "index.html": "text/html",
    "page.css": "text/css",
    **{f"{name}.js": "text/javascript" for name in ("elements", "lanes", "cameras", "schedule", "page")},
}
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class Handlers:
    """Answers requests about one pipeline or several. Make it inside the loop that uses it.

    Args:
        cameras: The pipelines by name of their camera.
        options: Options of the server.
    """

    def __init__(self, cameras: Mapping[str, LivePipeline], options: ServeOptions) -> None:
        self.viewers: set[web.WebSocketResponse] = set()
        self._options = options
        self._executor = ThreadPoolExecutor(1, "edge-vseg-pictures", lower_priority, (NICENESS,))
        self._waiting = 0
        self._cameras = {
            name: ServedCamera(name, live, self._executor, options.picture_fps) for name, live in cameras.items()
        }
        self._machine = MachineMeter()
        self._registry = make_registry(cameras, self._machine, lambda: len(self.viewers))
        self._files = {name: (files("edge_vseg.serve") / "page" / name).read_bytes() for name in _PAGE_TYPES}

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/", self.page),
            web.get("/{name}.{kind:js|css}", self.page),
            web.get("/stream", self.stream),
            web.get("/api/cameras", self.cameras),
            web.get("/api/server", self.server),
            web.get("/api/state", self.state),
            web.get("/api/pixel", self.pixel),
            web.post("/api/schedule", self.schedule),
            web.get("/latest.png", self.latest),
            web.get("/health", self.health),
            web.get("/metrics", self.metrics),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """The page, its script and its style."""
        parts = request.match_info
        name = f"{parts['name']}.{parts['kind']}" if parts else "index.html"
        if name not in self._files:
            raise web.HTTPNotFound
        return web.Response(body=self._files[name], content_type=_PAGE_TYPES[name], charset="utf-8")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket of a page, for one camera."""
        camera = self._camera_of(request)
        if len(self.viewers) >= self._options.max_viewers:
            return _refused(503, f"{self._options.max_viewers} pages are open already; close one, or see --max-viewers")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, timeout=CLOSE_S, max_msg_size=MAX_MESSAGE, compress=False)
        self.viewers.add(socket)
        try:
            await socket.prepare(request)
            transport = request.transport
            abort = transport.abort if transport is not None else lambda: None
            await Viewer(socket, camera.desk, lambda: self._state_of(camera), camera.views, abort).run()
        finally:
            self.viewers.discard(socket)
        return socket

    async def cameras(self, _: web.Request) -> web.Response:
        """Names of the cameras, each with its source and the state of its health."""
        states = self._states()
        described = [
            {"name": name, "source": camera.live.source_name, "state": states[name]}
            for name, camera in self._cameras.items()
        ]
        return _json(described)

    async def server(self, request: web.Request) -> web.Response:
        """What stays of a camera while the server runs."""
        camera = self._camera_of(request)
        return _json(describe_server(camera.live, camera.views, changes=self._options.changes))

    async def state(self, request: web.Request) -> web.Response:
        """What changes."""
        return web.Response(text=self._state_of(self._camera_of(request)), content_type="application/json")

    async def health(self, request: web.Request) -> web.Response:
        """For a supervisor: 200 while results of all cameras, or of the one asked for, are fresh, else 503."""
        cameras = [self._camera_of(request)] if "camera" in request.query else [*self._cameras.values()]
        now_ns = time.monotonic_ns()
        found = {camera.name: camera.live.health for camera in cameras}
        worst = min(found, key=lambda name: WORST_FIRST.index(found[name].state))
        described = describe_health(found[worst], now_ns)
        if len(found) > 1:
            described |= {
                "camera": worst,
                "cameras": {name: describe_health(each, now_ns) for name, each in found.items()},
            }
        return _json(described, status=200 if found[worst].state in ("ok", "degraded") else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """For Prometheus."""
        body = await self._in_thread(lambda: render_metrics(self._registry))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: PROMETHEUS})

    async def pixel(self, request: web.Request) -> web.Response:
        """Class, age and certainty of a pixel of a picture that was shown, or of the newest one."""
        camera = self._camera_of(request)
        try:
            x, y = float(request.query["x"]), float(request.query["y"])
            number = int(request.query.get("number", "0"))
        except (KeyError, ValueError):
            return _refused(400, "expected x and y as shares of width and height, 0 to 1, and perhaps a number")
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return _refused(400, f"x and y must lie between 0 and 1, got {x} and {y}")
        seen = camera.desk.shown(number) or camera.live.recorder.newest
        if seen is None:
            return _refused(503, "there is no result yet")
        return _json(await self._in_thread(lambda: describe_pixel(seen, x, y, camera.live.labels)))

    async def latest(self, request: web.Request) -> web.Response:
        """The newest label map as PNG, 8-bit ids; or a view of it."""
        camera = self._camera_of(request)
        view = request.query.get("view", "")
        if view and view not in camera.views:
            return _refused(400, f"there is no view {view!r}; known: {', '.join(camera.views)}")
        try:
            seen = camera.live.newest()
        except PipelineError as exc:
            return _refused(503, str(exc))
        body = await self._in_thread(lambda: _png(camera, seen, view))
        result = seen.result
        ages = {
            "X-Age-Ms": f"{(time.monotonic_ns() - result.capture_ns) / 1e6:.1f}",
            "X-Labels-Age-Ms": f"{(time.monotonic_ns() - result.labels_ns) / 1e6:.1f}",
        }
        return web.Response(body=body, content_type="image/png", headers={"X-Seq": str(result.seq), **ages})

    async def schedule(self, request: web.Request) -> web.Response:
        """Change the schedule of a camera."""
        if self._options.changes == "refused":
            return _refused(403, "this server was started with --no-changes")
        if request.content_type != "application/json":  # a form of another page could send any other type
            return _refused(415, "expected Content-Type: application/json")
        camera = self._camera_of(request)
        try:
            policy = msgspec.json.decode(await request.read(), type=ScheduleRequest).make()
            # Not in the thread of the pictures: that would stop them, and has a low priority that is inherited.
            await asyncio.to_thread(camera.live.change, policy)
        except (msgspec.DecodeError, OptionError) as exc:
            return _refused(400, str(exc))
        except ChangeUnderWayError as exc:
            return _refused(409, str(exc))
        except EdgeVsegError as exc:
            return _refused(503, str(exc))
        return _json({"policy": policy.name})

    async def close(self) -> None:
        """Close all WebSockets, and end the thread of the pictures."""
        closing = [socket.close(code=1001, message=b"the server stops") for socket in set(self.viewers)]
        await asyncio.gather(*closing, return_exceptions=True)
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _camera_of(self, request: web.Request) -> ServedCamera:
        """The camera that a request is about; with several it has to say which."""
        name = request.query.get("camera")
        if name is None and len(self._cameras) == 1:
            return next(iter(self._cameras.values()))
        if name is None or name not in self._cameras:
            known = ", ".join(self._cameras)
            reason = (
                f"say which camera with ?camera=, one of: {known}"
                if name is None
                else f"there is no such camera; there are: {known}"
            )
            status = web.HTTPBadRequest if name is None else web.HTTPNotFound
            raise status(text=_encode({"error": reason}).decode(), content_type="application/json")
        return self._cameras[name]

    def _states(self) -> dict[str, str]:
        return {name: camera.live.health.state for name, camera in self._cameras.items()}

    def _state_of(self, camera: ServedCamera) -> str:
        if not self._waiting:
            self._executor.submit(self._machine.read)
        return camera.state(self._machine, self._states)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise web.HTTPServiceUnavailable(text="too many requests at a time; ask again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        finally:
            self._waiting -= 1


def _png(camera: ServedCamera, seen: Seen, view: View | str) -> bytes:
    for known in camera.views:
        if view == known:
            return encode_png(draw_view(seen, known, camera.live.labels))
    return encode_png(seen.result.labels)


def _json(tree: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(tree), status=status, content_type="application/json")


def _refused(status: int, reason: str) -> web.Response:
    return _json({"error": reason}, status)
