"""Pages that are slow, many, or do not read; and what is left when the server stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from running_server import PATIENCE_S, PageClient, RunningServer

from edge_vseg.errors import OptionError
from edge_vseg.serve import ServeOptions, Server, viewer
from edge_vseg.serve.handlers import NICENESS

Start = Callable[..., RunningServer]
HANDSHAKE = (
    "GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def eventually(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def made(server: RunningServer) -> int:
    return server.server._handlers._cameras["camera"].desk.made  # the cost that nobody sees from outside


def test_nothing_is_drawn_while_nobody_looks(start: Start) -> None:
    server = start()
    eventually(lambda: server.live.counts.delivered > 10)
    assert made(server) == 0

    async def look_away() -> int:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as connected:
            page = PageClient(connected)
            await page.look("overlay")
            await page.picture()
            await page.look("")
            while (await page.state())["counts"]["delivered"] == 0:
                pass
            await asyncio.sleep(0.3)  # one more may have been begun
            before = made(server)
            await asyncio.sleep(0.5)
            return made(server) - before

    assert asyncio.run(look_away()) == 0


def test_a_view_is_drawn_once_for_all(start: Start) -> None:
    server = start(picture_fps=10.0)

    async def look(count: int) -> list[int]:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as connected:
            page = PageClient(connected)
            await page.look("overlay")
            return [(await page.picture())[0]["number"] for _ in range(count)]

    async def look_together() -> list[list[int]]:
        return await asyncio.gather(*(look(8) for _ in range(4)))

    seen = asyncio.run(look_together())
    assert len({number for numbers in seen for number in numbers}) <= made(server) <= 14, (
        "four viewers of eight pictures, each made about once"
    )


def test_a_page_that_confirms_nothing_gets_one_picture(start: Start) -> None:
    server = start(picture_fps=60.0)

    async def look() -> int:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as connected:
            page = PageClient(connected)
            await page.look("camera")
            first, _ = await page.picture(confirm=False)
            until, pictures = time.monotonic() + 1.0, 0
            while time.monotonic() < until:
                message = await connected.receive(PATIENCE_S)
                pictures += message.type is aiohttp.WSMsgType.BINARY
            await connected.send_json({"shown": first["number"]})
            later, _ = await page.picture()
            assert later["number"] > first["number"] + 10, "what came meanwhile is not sent late"
            return pictures

    assert asyncio.run(look()) == 0


def test_a_client_that_reads_nothing_is_dropped_and_holds_up_nobody(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "SEND_TIMEOUT_S", 0.3)
    monkeypatch.setattr(viewer, "STATE_PERIOD_S", 0.0)  # fills what the kernel buffers
    server = start()
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    silent.connect(("127.0.0.1", server.port))
    with silent:
        silent.sendall(HANDSHAKE.format(port=server.port).encode())
        viewers = server.server._handlers.viewers
        eventually(lambda: len(viewers) == 1)

        async def look() -> None:
            async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as connected:
                page = PageClient(connected)
                await page.look("camera")
                for _ in range(5):
                    await page.picture()

        asyncio.run(look())
        eventually(lambda: len(viewers) == 0)


def test_a_client_that_does_not_answer_is_dropped(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vseg.serve.handlers.HEARTBEAT_S", 0.4)
    server = start()
    with socket.create_connection(("127.0.0.1", server.port)) as deaf:
        deaf.sendall(HANDSHAKE.format(port=server.port).encode())
        viewers = server.server._handlers.viewers
        eventually(lambda: len(viewers) == 1)
        reading = threading.Thread(target=lambda: [None for _ in iter(lambda: deaf.recv(4096), b"")])
        reading.start()
        eventually(lambda: len(viewers) == 0)
    reading.join(PATIENCE_S)


def test_too_many_pages(start: Start) -> None:
    server = start(max_viewers=2)

    async def look() -> None:
        async with aiohttp.ClientSession() as session:
            url = server.url + "stream"
            async with session.ws_connect(url), session.ws_connect(url):
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await session.ws_connect(url)
            await asyncio.to_thread(eventually, lambda: not server.server._handlers.viewers)
            async with session.ws_connect(url):
                pass

    asyncio.run(look())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="niceness by thread is Linux's")
def test_drawing_has_a_low_priority(start: Start) -> None:
    server = start()
    found: list[int] = []
    server.server._handlers._executor.submit(
        lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    ).result(PATIENCE_S)
    assert found == [os.getpriority(os.PRIO_PROCESS, 0) + NICENESS]


def test_closing_leaves_no_thread_and_no_descriptor(start: Start) -> None:
    start().close()  # what is made once stays: caches of the loop, the pool of OpenCV
    threads, descriptors = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))

    async def look(server: RunningServer) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream") as connected:
            page = PageClient(connected)
            await page.look("overlay")
            await page.picture()
            closing = asyncio.create_task(asyncio.to_thread(server.close))
            while not connected.closed:
                await connected.receive(PATIENCE_S)
            await closing
            assert connected.close_code == 1001

    asyncio.run(look(start()))
    eventually(lambda: set(threading.enumerate()) <= threads)
    eventually(lambda: len(list(Path("/proc/self/fd").iterdir())) <= descriptors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_command_serves_until_it_is_told_to_stop(plain_bundle: Path, clip: Path, number: signal.Signals) -> None:
    words = [plain_bundle, clip, "--repeat", "--runtime", "reference", "--port", "0", "--token", ""]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_vseg.cli", "serve", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EDGE_VSEG_TOKEN": ""},
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "?token=" in line, line
        address = line.split()[-1]
        assert len(address.partition("token=")[2]) >= 16

        async def look() -> None:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                async with session.get(address) as answer:
                    assert answer.status == 200
                    assert "page.js" in await answer.text()
                async with session.ws_connect(address.partition("?")[0] + "stream") as connected:
                    page = PageClient(connected)
                    await page.look("overlay")
                    await page.picture()
                    process.send_signal(number)
                    while not connected.closed:
                        await connected.receive(PATIENCE_S)

        asyncio.run(look())
        assert process.wait(PATIENCE_S) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_command_refuses_to_be_seen_without_a_token(plain_bundle: Path, clip: Path) -> None:
    words = [plain_bundle, clip, "--host", "0.0.0.0"]
    environment = {name: value for name, value in os.environ.items() if name != "EDGE_VSEG_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-m", "edge_vseg.cli", "serve", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    assert "others can reach 0.0.0.0" in done.stderr


def test_a_port_that_is_taken(start: Start) -> None:
    running = start()

    async def listen_again() -> None:
        await Server(running.live, ServeOptions(port=running.port)).start()

    with pytest.raises(OptionError, match="cannot listen"):
        asyncio.run(listen_again())
