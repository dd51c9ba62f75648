"""A source that plays what a test writes down."""

from __future__ import annotations

import threading

from edge_vseg.types import Frame
from edge_vseg.video import Source

PATIENCE_S = 20.0


class ScriptedSource(Source):
    """Plays a script of frames, exceptions to raise, and gates at which it waits."""

    def __init__(self, *script: Frame | Exception | threading.Event) -> None:
        super().__init__(name="script")
        self.script = iter(script)
        self.reached_gate = threading.Event()
        self.released = threading.Event()

    @property
    def fps(self) -> float | None:
        return 25.0

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        for item in self.script:
            if isinstance(item, threading.Event):
                self.reached_gate.set()
                assert item.wait(PATIENCE_S)
            elif isinstance(item, Exception):
                raise item
            else:
                return item
        return None

    def _release(self) -> None:
        self.released.set()
