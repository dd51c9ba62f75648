"""Clients that open connections and say nothing, or not enough, by real sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from running_server import PATIENCE_S, RunningServer

from edge_vseg.serve import door

Start = Callable[..., RunningServer]
TOKEN = "sixteen-characters"
MOST = door.OTHERS + door.PER_PAGE


@pytest.fixture
def opened() -> Iterator[Callable[[RunningServer], socket.socket]]:
    with contextlib.ExitStack() as sockets:
        yield lambda server: sockets.enter_context(
            socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        )


Open = Callable[[RunningServer], socket.socket]


def head(server: RunningServer, token: str = "") -> bytes:
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{shown}\r\n".encode()


def answer(client: socket.socket) -> str:
    """The status line; empty if the connection was closed."""
    with contextlib.suppress(ConnectionError):
        return client.recv(65536).decode().partition("\r\n")[0]
    return ""


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it; reads what it has sent before."""
    client.settimeout(0.01)
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    finally:
        client.settimeout(PATIENCE_S)
    return True


def becomes_closed(*clients: socket.socket) -> bool:
    until = time.monotonic() + PATIENCE_S
    while not all(is_closed(each) for each in clients):
        if time.monotonic() > until:
            return False
    return True


def test_a_connection_without_a_request_is_closed(
    start: Start, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 1.0)
    server = start(token=TOKEN)
    silent, slow, stranger, known = (opened(server) for _ in range(4))
    slow.sendall(head(server, TOKEN)[:-10])
    stranger.sendall(head(server))
    known.sendall(head(server, TOKEN))
    assert "401" in answer(stranger)
    assert answer(known).startswith("HTTP/1.1 ")
    assert becomes_closed(silent, slow, stranger)
    known.sendall(head(server, TOKEN))
    assert answer(known).startswith("HTTP/1.1 "), "who may ask keeps the connection"
    assert caplog.text == ""


def test_headers_that_come_byte_by_byte_do_not_hold_a_connection(
    start: Start, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PATIENCE_S", 1.0)
    server = start()
    client = opened(server)
    client.sendall(head(server)[:-2])
    until = time.monotonic() + PATIENCE_S / 2  # aiohttp itself, where it is new, closes it after 15 s
    while not is_closed(client):
        assert time.monotonic() < until, "every byte bought more time"
        with contextlib.suppress(ConnectionError):
            client.sendall(b"X-A: b\r\n")


def test_strangers_do_not_keep_out_who_has_the_token(
    start: Start, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(token=TOKEN, max_viewers=1)
    known = opened(server)
    known.sendall(head(server, TOKEN))
    assert answer(known).startswith("HTTP/1.1 ")
    strangers = [opened(server) for _ in range(2 * MOST)]
    assert becomes_closed(*strangers[: MOST + 1]), "more are open than the limit"
    late = opened(server)
    late.sendall(head(server, TOKEN))
    assert answer(late).startswith("HTTP/1.1 ")
    known.sendall(head(server, TOKEN))
    assert answer(known).startswith("HTTP/1.1 ")
    assert not is_closed(strangers[-1])
    assert caplog.text.count("connections are open") == 1


def test_there_is_a_limit_for_those_who_may_ask_too(start: Start, opened: Open) -> None:
    server = start(max_viewers=1)
    clients = [opened(server) for _ in range(MOST)]
    for client in clients:
        client.sendall(head(server))
        assert answer(client).startswith("HTTP/1.1 ")
    late = opened(server)
    assert becomes_closed(late)
    assert not any(is_closed(each) for each in clients)
    for client in clients[:2]:
        client.close()
    until = time.monotonic() + PATIENCE_S
    while True:
        again = opened(server)
        with contextlib.suppress(ConnectionError):
            again.sendall(head(server))
        if answer(again):
            break
        assert time.monotonic() < until, "a connection that was closed still counts"
