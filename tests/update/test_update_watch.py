"""The watch over the service after an update, and the way back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from update_device import Device, release, state

from edge_vseg.errors import OptionError, RejectedBundleError
from edge_vseg.update import WatchOptions

Hash = Callable[[int], str]


@contextmanager
def health_server(*answers: int) -> Iterator[str]:
    """Answers with each status in turn, and then with the last for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"state": "stale", "reason": "labels are 9 s old"}')

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/health"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def watching(url: str, seconds: float = 60.0, **more: object) -> WatchOptions:
    clock = Clock()
    return WatchOptions(seconds=seconds, health_url=url, clock=clock, pause=clock.pause, **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
def test_a_service_that_gets_well_keeps_the_new_bundle(device: Device, site: Path, hash_of: Hash) -> None:
    device.update(release(site, 1))
    with health_server(503, 503, 200) as url:
        device.update(release(site, 2), watch=watching(url))
    assert device.installed == hash_of(2)
    assert state(device)["pending"] is None


@pytest.mark.usefixtures("quick")
def test_a_service_that_stays_ill_gets_its_bundle_back(device: Device, site: Path, hash_of: Hash) -> None:
    device.update(release(site, 1))
    with health_server(200, 503) as url, pytest.raises(RejectedBundleError, match="labels are 9 s old") as raised:
        device.update(release(site, 2), watch=watching(url))
    assert "in place again" in str(raised.value)
    assert device.installed == hash_of(1)
    assert (state(device)["pending"], state(device)["rejected"]) == (None, [hash_of(2)])
    with health_server(200) as url:
        device.update(release(site, 3), watch=watching(url))
    assert device.installed == hash_of(3)


@pytest.mark.usefixtures("quick")
def test_a_first_bundle_that_is_ill_leaves_nothing_in_its_place(device: Device, site: Path) -> None:
    with health_server(503) as url, pytest.raises(RejectedBundleError, match="there is none in its place"):
        device.update(release(site, 1), watch=watching(url))
    assert not os.path.lexists(device.bundle)


@pytest.mark.usefixtures("quick")
def test_nobody_answers(device: Device, site: Path) -> None:
    device.update(release(site, 1))
    with health_server(200) as url:
        pass
    with pytest.raises(RejectedBundleError, match="is not well"):
        device.update(release(site, 2), watch=watching(url))


def test_a_health_that_would_never_be_asked_is_refused() -> None:
    with pytest.raises(OptionError, match="give --watch"):
        WatchOptions(health_url="http://127.0.0.1:8080/health")


def test_without_a_service_the_bundle_itself_is_tried_again(device: Device, site: Path, quick: list[Path]) -> None:
    clock = Clock()
    device.update(release(site, 1), watch=WatchOptions(seconds=5, clock=clock, pause=clock.pause))
    assert quick[1:] == [device.bundle] * 4, "after 0, 2, 4 and 5 seconds"


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, which writes down what it was asked, and fails while there is a file ``fail``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\n[ ! -e {folder}/fail ] || {{ echo no >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.usefixtures("quick")
def test_the_unit_is_restarted_after_the_switch_and_after_the_way_back(
    device: Device, site: Path, systemctl: Path, hash_of: Hash
) -> None:
    device.update(release(site, 1), watch=WatchOptions(restart_unit="edge-vseg.service"))
    with health_server(503) as url, pytest.raises(RejectedBundleError):
        device.update(release(site, 2), watch=watching(url, restart_unit="edge-vseg.service"))
    asked = (systemctl / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert all(line.endswith("restart -- edge-vseg.service") for line in asked)
    (systemctl / "fail").touch()
    with pytest.raises(RejectedBundleError, match="failed: no"):
        device.update(release(site, 3), watch=WatchOptions(restart_unit="edge-vseg.service"))
    assert device.installed == hash_of(1)
