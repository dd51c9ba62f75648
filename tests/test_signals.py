"""Ctrl-C waits for the work in hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from edge_vseg.signals import defer_interrupt, sigterm_as_interrupt

pytestmark = pytest.mark.serial  # a worker of pytest-xdist may die of the signal


@pytest.fixture(autouse=True)
def ordinary_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_nothing_happens_without_it() -> None:
    with defer_interrupt():
        pass


def test_the_block_is_finished_first() -> None:
    done = []

    def work() -> None:
        with defer_interrupt():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            signal.raise_signal(signal.SIGINT)
            done.append("second")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first", "second"]


def test_an_error_comes_first() -> None:
    def fail() -> None:
        with defer_interrupt():
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with defer_interrupt():
        signal.raise_signal(signal.SIGINT)
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN


def test_sigterm_is_ctrl_c_and_waits_for_the_work_too() -> None:
    done = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt() as termination:
        with sigterm_as_interrupt() as inner:
            assert inner is termination
        with defer_interrupt():
            signal.raise_signal(signal.SIGTERM)
            done.append("first")
        done.append("never")
    assert (done, termination.arrived) == (["first"], True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_is_not_taken_for_sigterm() -> None:
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt() as termination:
        signal.raise_signal(signal.SIGINT)
    assert not termination.arrived
