"""What shows that a command is at work."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from functools import partial

import pytest
from rich.console import Console

from edge_vseg.cli import console
from edge_vseg.progress_lines import ProgressLines


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text, force_terminal=True, width=100))
    return text


def last_line(screen: io.StringIO) -> str:
    return [line for line in screen.getvalue().replace("\r", "\n").splitlines() if "exporting" in line][-1]


def run_steps(names: str, *, quiet: bool = False, expected: int | None = None) -> None:
    with console.steps("exporting", quiet=quiet, expected=expected) as step:
        for name in names:
            step(name)


def test_a_bar_of_steps(screen: io.StringIO) -> None:
    run_steps("abc", expected=4)
    assert "exporting: c" in last_line(screen)
    assert "2/4" in last_line(screen), "two are done while the third is at work"
    assert "0:00:00" in last_line(screen)


def test_more_steps_than_expected(screen: io.StringIO) -> None:
    """The bar is never full before the end."""
    run_steps("abcd", expected=2)
    assert "3/4" in last_line(screen)


def test_steps_that_nobody_counted(screen: io.StringIO) -> None:
    run_steps("ab")
    assert "exporting: b" in last_line(screen)
    assert "/" not in last_line(screen)


def test_quiet_steps(screen: io.StringIO) -> None:
    run_steps("ab", quiet=True, expected=2)
    assert screen.getvalue() == ""


def test_the_time_left_stands_beside_the_bar(screen: io.StringIO) -> None:
    class Times:
        def __init__(self) -> None:
            self.told: list[str] = []

        def begin(self, line: str) -> None:
            self.told.append(line)

        @property
        def text(self) -> str:
            return f"about {9 - len(self.told)} min left"

    times = Times()
    with console.steps("exporting", quiet=False, expected=4, time_left=times) as step:
        for name in "abc":
            step(name)
    assert times.told == ["a", "b", "c"]
    assert "about 6 min left" in last_line(screen)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Standard error that is no terminal, with a line every hundredth of a second."""
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text, force_terminal=False, width=80))
    monkeypatch.setattr(console, "ProgressLines", partial(ProgressLines, first_s=0.01))
    return text


def wait_for(log: io.StringIO, words: str) -> None:
    until = time.monotonic() + 20
    while words not in log.getvalue() and time.monotonic() < until:
        time.sleep(0.01)
    assert words in log.getvalue()


def test_a_log_has_plain_lines_of_steps(log: io.StringIO) -> None:
    long = "trying 3 nodes in float for a runtime whose name fills the rest of the line, and more than it"
    with console.steps("exporting", quiet=False, expected=2) as step:
        step("a")
        wait_for(log, "exporting: a (0:00)")
        step(long)
        wait_for(log, f"exporting: {long} (0:00)")
    said = log.getvalue()
    assert "\r" not in said
    assert "\x1b" not in said
    time.sleep(0.05)
    assert log.getvalue() == said, "nothing comes after the end"


def test_a_log_has_plain_lines_of_frames(log: io.StringIO) -> None:
    with console.counter("evaluating", quiet=False) as count:
        count(3, None)
        time.sleep(0.05)
        assert not log.getvalue(), "a camera has no end, and a log is not to grow with it"
        count(4, 9)
        wait_for(log, "evaluating: 4 of 9 (0:00)")


def test_a_log_of_a_quiet_command_has_none(log: io.StringIO) -> None:
    with console.steps("exporting", quiet=True) as step:
        step("a")
        time.sleep(0.05)
    assert log.getvalue() == ""


def test_a_short_command_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text, force_terminal=False))
    run_steps("ab")
    with console.counter("evaluating", quiet=False) as count:
        count(4, 9)
    assert text.getvalue() == "", "not even the empty line that a progress bar leaves"


def test_a_warning_in_a_log_is_one_line(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", log)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    words = "openvino/int8: its slices take 49 % longer than the whole graph, on this machine and with these threads"
    with console.steps("exporting", quiet=False):
        logging.getLogger("edge_vseg").warning(words)
    assert words in log.getvalue().splitlines()


def test_standard_error_that_is_closed_ends_the_lines_alone() -> None:
    asked = threading.Event()

    def say(line: str) -> None:
        asked.set()
        raise BrokenPipeError

    with ProgressLines(say, lambda: "exporting", first_s=0.01):
        assert asked.wait(20)
