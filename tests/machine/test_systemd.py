"""What a service manager hears, over real sockets, on a clock that the test moves."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_manager import FakeManager

from edge_vseg.machine.systemd import STATUS_S, ServiceManager, ServiceSign, ServiceWatch, watchdog_s, watched

ALIVE = ServiceSign(pulse="alive", status="ok")


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeManager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-vseg-test-{os.getpid()}"
    made = FakeManager(name)
    yield made
    made.close()


class Story:
    """A service whose state and clock the test sets."""

    def __init__(self, manager: FakeManager, limit_s: float | None) -> None:
        self.now_s = 100.0
        self.sign = ServiceSign(pulse="starting", status="")
        self._manager = manager
        client = ServiceManager.from_environment({"NOTIFY_SOCKET": manager.address})
        assert client is not None
        self.client = client
        self._watch = ServiceWatch(client, lambda: self.sign, limit_s, lambda: self.now_s)

    def at(self, now_s: float, sign: ServiceSign) -> list[str]:
        """What the manager hears at a time."""
        self.now_s, self.sign = now_s, sign
        before = len(self._manager.lines())
        self._watch.tell()
        return self._manager.lines()[before:]


@pytest.fixture
def story(manager: FakeManager) -> Iterator[Story]:
    told = Story(manager, limit_s=10.0)
    yield told
    told.client.close()


def test_ready_comes_once_and_not_before_it_is_so(story: Story) -> None:
    assert story.at(100, ServiceSign(pulse="starting", status="no camera yet")) == ["STATUS=no camera yet"]
    assert story.at(101, ALIVE) == ["READY=1", "STATUS=ok", "WATCHDOG=1"]
    assert story.at(102, ALIVE) == []


def test_pings_come_every_half_of_the_time_while_it_is_alive(story: Story) -> None:
    pings = [second for second in range(100, 131) if "WATCHDOG=1" in story.at(second, ALIVE)]
    assert pings == [100, 105, 110, 115, 120, 125, 130]


def test_no_ping_while_it_is_silent_and_one_at_once_afterwards(story: Story) -> None:
    silent = ServiceSign(pulse="silent", status="stale")
    story.at(100, ALIVE)
    heard = [line for second in range(101, 150) for line in story.at(second, silent)]
    assert heard == ["STATUS=stale"]
    assert "WATCHDOG=1" in story.at(150, ALIVE)


def test_a_service_that_is_silent_from_the_first_result_on_has_started(story: Story) -> None:
    assert story.at(101, ServiceSign(pulse="silent", status="old")) == ["READY=1", "STATUS=old"]


def test_what_failed_for_good_asks_to_be_restarted_once(story: Story) -> None:
    failed = ServiceSign(pulse="failed", status="gave up")
    assert story.at(101, failed) == ["STATUS=gave up", "WATCHDOG=trigger"]
    assert story.at(120, failed) == []


def test_without_a_watchdog_there_is_no_ping(manager: FakeManager) -> None:
    story = Story(manager, limit_s=None)
    assert story.at(100, ALIVE) == ["READY=1", "STATUS=ok"]
    assert story.at(200, ServiceSign(pulse="failed", status="gave up")) == ["STATUS=gave up"]
    story.client.close()


def test_figures_alone_are_told_seldom(story: Story) -> None:
    story.at(100, ALIVE)
    told = [n for n in range(1, 21) if story.at(100 + n, ServiceSign(pulse="alive", status=f"ok {n}")) != []]
    statuses = [line for line in story._manager.lines() if line.startswith("STATUS=")]
    assert len(statuses) == 1 + 20 // STATUS_S
    assert told[0] <= STATUS_S


def test_a_status_is_one_line(story: Story) -> None:
    heard = story.at(100, ServiceSign(pulse="silent", status="two\nlines\nREADY=0 " + "x" * 2000))
    assert heard[1].startswith("STATUS=two lines READY=0 x")
    assert len(heard) == 2
    assert len(heard[1]) < 600


def test_a_thread_tells_and_says_goodbye(manager: FakeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in manager.environment(watchdog_s=0.4).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    threads = threading.active_count()
    with watched(lambda: ALIVE):
        assert threading.active_count() == threads + 1
        assert manager.listen_until(lambda: len(manager.times_s("WATCHDOG=1")) >= 3)
    assert threading.active_count() == threads
    assert manager.lines()[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_without_a_manager_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    threads = threading.active_count()
    with watched(lambda: pytest.fail("nobody asked")):
        assert threading.active_count() == threads


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_sockets_that_are_not_spoken(address: str) -> None:
    assert ServiceManager.from_environment({"NOTIFY_SOCKET": address}) is None


def test_a_manager_that_is_gone_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = ServiceManager(str(tmp_path / "nobody"))
    with caplog.at_level(logging.WARNING, "edge_vseg"):
        client.tell("READY=1")
        client.tell("WATCHDOG=1")
    client.close()
    assert [record.message.partition(":")[0] for record in caplog.records] == ["the service manager does not listen"]


def test_a_look_that_raises_is_reported_and_pings_nothing(
    manager: FakeManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in manager.environment(watchdog_s=0.4).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    looks = threading.Event()

    def look() -> ServiceSign:
        looks.set()
        raise RuntimeError("broken")

    with caplog.at_level(logging.ERROR, "edge_vseg"), watched(look):
        assert looks.wait(20)
        looks.clear()
        assert looks.wait(20), "the thread goes on"
    assert "WATCHDOG=1" not in manager.lines()
    assert "cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
    ids=["any process", "this process", "another process", "no number", "none", "nothing"],
)
def test_the_time_of_the_watchdog(environment: dict[str, str], expected: float | None) -> None:
    assert watchdog_s(environment) == expected
