"""How many connections may be open, and how long one may say nothing: whoever reaches the port can open some."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""From a connection to its first request that was let through."""
PER_PAGE = 6
"""Connections that a browser opens to one server."""
OTHERS = 32
"""For programs: connections beside those of the pages."""


class Door:
    """Hands connections to a web server, up to a number.

    aiohttp has no such limit, and its older versions wait for the first request for ever. Where the number is reached,
    the oldest connection that never sent a request with the right token makes room, so that strangers do not keep out
    those who have it.

    Args:
        most: Connections at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._strangers: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self._welcome: set[asyncio.BaseTransport] = set()
        self._told = False

    def to(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each connection, for :meth:`asyncio.loop.create_server`."""
        return lambda: _Caller(self, server)

    @web.middleware
    async def greet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection may stay; behind what refuses requests."""
        transport = request.transport
        if transport is not None and (timer := self._strangers.pop(transport, None)) is not None:
            timer.cancel()
            self._welcome.add(transport)
        return await handler(request)

    def admits(self, transport: asyncio.Transport) -> bool:
        """Whether there is room for a new connection, which may make others leave."""
        self._forget_closed()
        if len(self._strangers) + len(self._welcome) >= self._most and not self._told:
            self._told = True
            log.warning("%d connections are open; from now on the oldest without a request are closed", self._most)
        if len(self._strangers) + len(self._welcome) >= self._most and not self._turn_out_oldest():
            return False
        loop = asyncio.get_running_loop()
        self._strangers[transport] = loop.call_later(PATIENCE_S, self._turn_out, transport)
        return True

    def _turn_out_oldest(self) -> bool:
        oldest = next(iter(self._strangers), None)
        if oldest is None:
            return False
        self._turn_out(oldest)
        return True

    def _turn_out(self, transport: asyncio.BaseTransport) -> None:
        timer = self._strangers.pop(transport, None)
        if timer is not None:
            timer.cancel()
            cast(asyncio.Transport, transport).abort()

    def _forget_closed(self) -> None:
        for transport in [each for each in self._strangers if each.is_closing()]:
            self._strangers.pop(transport).cancel()
        self._welcome = {each for each in self._welcome if not each.is_closing()}

    def close(self) -> None:
        """Forget all connections; the server closes them."""
        for timer in self._strangers.values():
            timer.cancel()
        self._strangers.clear()
        self._welcome.clear()


class _Caller(asyncio.Protocol):
    """A connection that nobody has looked at."""

    def __init__(self, door: Door, server: web.Server) -> None:
        self._door, self._server = door, server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast(asyncio.Transport, transport)
        if not self._door.admits(connection):
            connection.abort()
            return
        protocol = self._server()
        connection.set_protocol(protocol)
        protocol.connection_made(connection)
