"""Who is let in: by the address, the host name, the origin and the token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from running_server import RunningServer

from edge_vseg.errors import OptionError
from edge_vseg.serve import ServeOptions, make_token

TOKEN = "correct-horse-battery"
PATHS = ["/", "/page.js", "/api/state", "/api/server", "/api/pixel?x=0&y=0", "/latest.png", "/health", "/metrics"]
Start = Callable[..., RunningServer]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServeOptions(host=host).token == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.local", ""])
def test_anything_else_needs_one(host: str) -> None:
    with pytest.raises(OptionError, match="others can reach"):
        ServeOptions(host=host)
    assert ServeOptions(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a line\nend of it", "mit Umlaut: schön genug"])
def test_tokens_that_are_refused(token: str) -> None:
    with pytest.raises(OptionError, match="16 or more"):
        ServeOptions(token=token)


def test_tokens_that_are_made_differ() -> None:
    assert len({make_token() for _ in range(10)}) == 10
    assert ServeOptions(token=make_token())


@pytest.mark.parametrize(
    "fields", [{"port": 70_000}, {"changes": "perhaps"}, {"picture_fps": 0.0}, {"max_viewers": 0}], ids=str
)
def test_options_that_are_impossible(fields: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ServeOptions(**fields)  # type: ignore[arg-type]


def test_without_the_token_nothing_is_told(start: Start) -> None:
    server = start(token=TOKEN)
    for path in PATHS:
        answer = server.ask(path)
        assert answer.status == 401, path
        assert b"token" in answer.body
        assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer \xfc", TOKEN, f"Basic {TOKEN}"):
        assert server.ask("/health", Authorization=wrong).status == 401
    assert server.ask("/api/schedule", method="POST", body={"policy": "fixed"}).status == 401


def test_the_token_as_a_header(start: Start) -> None:
    server = start(token=TOKEN)
    for path in ("/", "/api/state", "/metrics"):
        answer = server.ask(path, Authorization=f"Bearer {TOKEN}")
        assert answer.status == 200
        assert "set-cookie" not in answer.headers


def test_the_token_in_the_address_becomes_a_cookie_that_does_not_contain_it(start: Start) -> None:
    server = start(token=TOKEN)
    answer = server.ask(f"/?token={TOKEN}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    pair = cookie.partition(";")[0]
    assert server.ask("/api/state", Cookie=pair).status == 200
    assert server.ask("/api/state", Cookie=f"{pair}0").status == 401
    assert start(token=TOKEN[::-1]).ask("/api/state", Cookie=pair).status == 401
    # Only the page takes it from the address.
    assert server.ask(f"/api/state?token={TOKEN}").status == 401
    assert server.ask("/?token=wrong").status == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[", ""])
def test_a_name_that_resolves_to_this_machine_does_not_help(start: Start, host: str) -> None:
    """DNS rebinding: the browser believes that this server is the attacker's."""
    server = start()
    assert server.ask("/api/state", host=host or " ").status in (400, 403)


def test_names_that_are_allowed(start: Start) -> None:
    server = start(names=("Robot.local",))
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:80", "robot.local", "ROBOT.local:8080"):
        assert server.ask("/api/state", host=host).status == 200, host


def test_pages_of_others_change_nothing_and_see_nothing(start: Start) -> None:
    server = start()
    body = {"policy": "fixed"}
    for origin in ("http://evil.example", "null", "http://[", f"http://localhost:{server.port + 1}"):
        assert server.ask("/api/schedule", method="POST", body=body, Origin=origin).status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            asyncio.run(_connect(server, origin))
    assert server.live.policy is None
    own = f"http://127.0.0.1:{server.port}"
    asyncio.run(_connect(server, own))
    assert server.ask("/api/schedule", method="POST", body=body, Origin=own).status == 200


async def _connect(server: RunningServer, origin: str) -> None:
    headers = {"Origin": origin}
    async with aiohttp.ClientSession() as session, session.ws_connect(server.url + "stream", headers=headers):
        pass


def test_a_form_cannot_change_the_schedule(start: Start) -> None:
    """A form of another page is sent without asking; it has one of three types, and none of them is JSON."""
    server = start()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = server.ask("/api/schedule", method="POST", body=b'{"policy": "fixed"}', Content_Type=kind)
        assert answer.status == 415
    assert server.live.policy is None


def test_changes_can_be_refused(start: Start) -> None:
    server = start(changes="refused")
    answer = server.ask("/api/schedule", method="POST", body={"policy": "fixed"})
    assert answer.status == 403
    assert server.ask("/api/server").json["changes"] == "refused"
    assert server.live.policy is None


def test_a_body_that_is_too_long(start: Start) -> None:
    answer = start().ask("/api/schedule", method="POST", body=b'{"policy": "' + b"x" * 100_000 + b'"}')
    assert answer.status == 413


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/state", "/nothing"])
def test_security_headers(start: Start, path: str) -> None:
    headers = start().ask(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/../options.py", "/page/page.js", "/page.py", "/%2e%2e/server.py", "/.git/config"])
def test_no_other_file_is_served(start: Start, path: str) -> None:
    assert start().ask(path).status == 404
