"""A page that is open: sends it pictures and states as fast as it takes them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import WSMsgType, web

from edge_vseg.errors import EdgeVsegError
from edge_vseg.serve.picture_desk import PictureDesk
from edge_vseg.serve.pictures import EncodedView, View

log = logging.getLogger(__name__)

STATE_PERIOD_S = 0.25
SEND_TIMEOUT_S = 5.0
"""A client that takes nothing for so long hangs, and is dropped."""
HEARTBEAT_S = 10.0
"""So often a client is asked whether it lives; half of it is its time to answer."""
MAX_MESSAGE = 1024
"""Bytes that a page may send at a time."""


class PageMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a page says.

    Attributes:
        view: What it wants to see from now on; empty for no picture, as while it is hidden.
        shown: The number of a picture that it has drawn, so that it can take another one.
    """

    view: str | None = None
    shown: int | None = None


class Viewer:
    """One WebSocket. One picture is on the way at most: a client that is slow gets fewer, and none is ever queued.

    Args:
        socket: The WebSocket, prepared.
        desk: Has pictures.
        state: Gives the state as JSON.
        views: The views there are.
        abort: Cuts the connection.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        desk: PictureDesk,
        state: Callable[[], str],
        views: tuple[View, ...],
        abort: Callable[[], object],
    ) -> None:
        self._socket = socket
        self._desk = desk
        self._state = state
        self._views: dict[str, View] = {view: view for view in views}
        self._abort = abort
        self._view: View | None = None
        self._on_the_way = 0
        self._changed = asyncio.Event()
        self._shown = asyncio.Event()

    async def run(self) -> None:
        """Serve the client until it leaves, or hangs."""
        tasks = [asyncio.create_task(self._send_states()), asyncio.create_task(self._send_pictures())]
        try:
            async for message in self._socket:
                if message.type is not WSMsgType.TEXT or not self._take(message.data):
                    await self._socket.close(code=1008, message=b"unknown message")
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("a viewer was dropped", exc_info=outcome)

    def _take(self, text: str) -> bool:
        """Do what the page says; returns whether it could be understood."""
        try:
            message = msgspec.json.decode(text, type=PageMessage)
        except msgspec.DecodeError:
            return False
        if message.view is not None:
            if message.view and message.view not in self._views:
                return False
            self._view = self._views.get(message.view)
            self._changed.set()
        if message.shown is not None and message.shown == self._on_the_way:
            self._shown.set()
        return True

    async def _send_states(self) -> None:
        while True:
            if not await self._send(self._socket.send_str(self._state())):
                return
            await asyncio.sleep(STATE_PERIOD_S)

    async def _send_pictures(self) -> None:
        last_view: View | None = None
        while True:
            self._changed.clear()
            view = self._view
            if view is None:
                last_view = None
                await self._changed.wait()
                continue
            # In another view the same result may be shown again.
            picture = await self._next_picture(view, self._on_the_way if view == last_view else 0)
            if picture is None:
                continue
            self._shown.clear()
            last_view, self._on_the_way = view, picture.seen.number
            if not await self._send(self._socket.send_bytes(picture.message(time.monotonic_ns()))):
                return
            await self._shown.wait()

    async def _next_picture(self, view: View, after: int) -> EncodedView | None:
        """The next picture; ``None`` if the page wants another view meanwhile, or there is none of this view."""
        made = asyncio.ensure_future(self._desk.newer(view, after))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((made, changed), return_when=asyncio.FIRST_COMPLETED)
            return None if changed.done() else made.result()
        except EdgeVsegError as exc:
            log.warning("no picture of %s: %s", view, exc)
            self._view = None
            return None
        finally:
            changed.cancel()
            made.cancel()

    async def _send(self, sending: Awaitable[None]) -> bool:
        """Send, and drop a client that does not take it; returns whether it is still there."""
        try:
            await asyncio.wait_for(sending, SEND_TIMEOUT_S)
        except asyncio.TimeoutError:
            log.warning("a viewer has taken nothing for %g s and is dropped", SEND_TIMEOUT_S)
        except (ConnectionError, RuntimeError):
            pass  # it has left
        else:
            return True
        self._abort()
        return False
