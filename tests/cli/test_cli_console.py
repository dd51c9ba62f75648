"""What shows that a command is at work."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edge_vseg.cli import console


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
