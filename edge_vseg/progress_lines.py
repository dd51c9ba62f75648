"""Say in plain lines how far something is, for logs and pipes, where a progress bar shows nothing or only garbage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

FIRST_S = 10.0
"""What takes less says nothing."""
_SHARE = 0.1
"""Later there is a line each time that so much more time has passed: hours give dozens of lines, not thousands."""


class ProgressLines:
    """Says how far something is: after ten seconds, then every ten, later at longer intervals.

    Args:
        say: Prints a line; called from another thread.
        describe: How far it is, in words; nothing is said while it is empty.
        first_s: When the first line comes, and the shortest interval.
    """

    def __init__(self, say: Callable[[str], None], describe: Callable[[], str], *, first_s: float = FIRST_S) -> None:
        self._say = say
        self._describe = describe
        self._first_s = first_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress lines", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; no line comes after this."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._ended.wait(max(self._first_s, _SHARE * (time.monotonic() - begin))):
            if words := self._describe():
                try:
                    self._say(f"{words} ({_clock(time.monotonic() - begin)})")
                except (OSError, ValueError):
                    return  # standard error is closed


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
