"""Ctrl-C and SIGTERM: end alike, and not before a frame or a training step is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Termination:
    """Handles SIGTERM, which service managers and CI systems send, as Ctrl-C.

    Attributes:
        arrived: Whether it has come.
    """

    def __init__(self) -> None:
        self.arrived = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, as Ctrl-C does."""
        self.arrived = True
        raise KeyboardInterrupt


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block ends, then raise what came.

    An interrupt between encoding a frame and writing its packet loses the packet; without its first keyframe the whole
    video cannot be played. In the middle of a training step it would leave weights from two steps. An error in the
    block takes precedence. Python interrupts the main thread only; in others the block just runs.
    """
    before = {number: handler for number in _STOPPING if callable(handler := signal.getsignal(number))}
    if threading.current_thread() is not threading.main_thread() or not before:
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    for number in before:
        signal.signal(number, lambda number, frame: pending.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        arrived, where = pending[0]
        before[signal.Signals(arrived)](arrived, where)


@contextmanager
def sigterm_as_interrupt() -> Iterator[Termination]:
    """Treat SIGTERM as Ctrl-C while the block runs; inside another such block nothing changes."""
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or isinstance(before, Termination):
        yield before if isinstance(before, Termination) else Termination()
        return
    termination = Termination()
    signal.signal(signal.SIGTERM, termination)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, before)
