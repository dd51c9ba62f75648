"""Listens, answers, and stops without leaving anything behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from edge_vseg.errors import OptionError
from edge_vseg.serve.access import Access, add_security_headers
from edge_vseg.serve.door import OTHERS, PER_PAGE, Door
from edge_vseg.serve.handlers import Handlers
from edge_vseg.serve.live import LivePipeline
from edge_vseg.serve.options import ServeOptions
from edge_vseg.serve.served_camera import DEFAULT_NAME

MAX_BODY = 16 * 1024
"""Bytes of a request."""
SHUTDOWN_S = 3.0
"""How long answers that are under way may take when the server stops."""


Cameras: TypeAlias = LivePipeline | Mapping[str, LivePipeline]
"""One pipeline, or several by the name of their camera."""


class Server:
    """The server of one pipeline or several, in the running loop.

    Args:
        live: The pipeline, or several by name; whoever made them closes them.
        options: Where to listen, and to whom to answer.
    """

    def __init__(self, live: Cameras, options: ServeOptions) -> None:
        self._options = options
        self._handlers = Handlers({DEFAULT_NAME: live} if isinstance(live, LivePipeline) else live, options)
        self._door = Door(most=OTHERS + PER_PAGE * options.max_viewers)
        app = web.Application(middlewares=[Access(options).guard, self._door.greet], client_max_size=MAX_BODY)
        app.add_routes(self._handlers.routes())
        app.on_response_prepare.append(add_security_headers)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=15.0
        )
        self._listener: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen; :attr:`url` is then the address of the page.

        Raises:
            OptionError: If the address or port cannot be had.
        """
        host, port = self._options.host.strip("[]"), self._options.port
        await self._runner.setup()
        assert self._runner.server is not None
        entrance = self._door.to(self._runner.server)
        try:
            self._listener = await asyncio.get_running_loop().create_server(entrance, host, port, backlog=32)
        except OSError as exc:
            await self.stop()
            raise OptionError(f"cannot listen on {host}, port {port}: {exc.strerror or exc}; give another") from exc
        bound = self._listener.sockets[0].getsockname()
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{bound[1]}/"

    async def stop(self) -> None:
        """Close all connections."""
        if self._listener is not None:
            self._listener.close()
        await self._handlers.close()
        await self._runner.cleanup()
        self._door.close()


def serve_until_stopped(live: Cameras, options: ServeOptions, on_ready: Callable[[str], object]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        live: The pipeline, or several by name; whoever made them closes them.
        options: Where to listen, and to whom to answer.
        on_ready: Called with the address of the page.

    Raises:
        OptionError: If the address or port cannot be had.
    """
    asyncio.run(_serve(live, options, on_ready))


async def _serve(live: Cameras, options: ServeOptions, on_ready: Callable[[str], object]) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    with contextlib.ExitStack() as handled:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
            handled.callback(loop.remove_signal_handler, number)
        server = Server(live, options)
        await server.start()
        try:
            on_ready(server.url)
            await stop.wait()
        finally:
            await server.stop()
