"""A server in a thread of its own, and a plain client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from edge_vseg.serve import LivePipeline, ServeOptions, Server

PATIENCE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RunningServer:
    """Runs a server until it is closed, and the pipeline with it."""

    def __init__(self, live: LivePipeline | dict[str, LivePipeline], options: ServeOptions) -> None:
        self.cameras = {"camera": live} if isinstance(live, LivePipeline) else live
        self.live = next(iter(self.cameras.values()))
        self._served = live
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test server")
        self._thread.start()
        self.server = self.run(self._open(options))
        self.url = self.server.url
        self.port = urlsplit(self.url).port

    async def _open(self, options: ServeOptions) -> Server:
        server = Server(self._served, options)
        await server.start()
        return server

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def ask(self, path: str, *, method: str = "GET", body: object = None, host: str = "", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given["Host"] = host or f"127.0.0.1:{self.port}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body=data, headers=given)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=names, body=response.read())
        finally:
            connection.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        for live in self.cameras.values():
            live.close()


class PageClient:
    """What the page does, without a browser: takes pictures and states from a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.states: list[Any] = []

    async def look(self, view: str) -> None:
        await self.socket.send_json({"view": view})

    async def picture(self, *, confirm: bool = True) -> tuple[dict[str, Any], bytes]:
        """Header and JPEG of the next picture."""
        while True:
            picture = await self._receive(confirm=confirm)
            if picture is not None:
                return picture

    async def state(self) -> Any:
        """The newest state that has come, or else the next one."""
        while not self.states:
            await self._receive(confirm=True)
        return self.states.pop()

    async def _receive(self, *, confirm: bool) -> tuple[dict[str, Any], bytes] | None:
        # A picture that is never confirmed is the last one that comes.
        message = await self.socket.receive(PATIENCE_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            self.states.append(json.loads(message.data))
            return None
        assert message.type is aiohttp.WSMsgType.BINARY, message
        length = int.from_bytes(message.data[:4], "big")
        header = json.loads(message.data[4 : 4 + length])
        if confirm:
            await self.socket.send_json({"shown": header["number"]})
        return header, message.data[4 + length :]
