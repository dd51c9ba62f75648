"""Ctrl-C that waits for the work in hand: a frame, or a training step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done, and raise it then.

    Between encoding a frame and writing its packet, an interrupt loses the packet; if that is the first
    keyframe, the whole overlay cannot be played. In the middle of a training step it leaves weights of which
    some are a step older than the others. An error in the block comes before the interrupt. Only the main
    thread is ever interrupted; in others the block just runs.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: pending.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if pending:
        handler(*pending[0])


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, which service managers and CI systems send, end the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
