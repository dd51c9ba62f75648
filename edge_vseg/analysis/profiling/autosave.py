"""Profiles of a run that has not ended, so that a power cut costs a minute and not the night."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_vseg.analysis.profiling.latency_profile import LatencyProfile

log = logging.getLogger(__name__)

AUTOSAVE_INTERVAL_S = 60.0
"""Seconds between two of them."""


class Autosave:
    """Hands over what there is so far, now and then, in a thread: a memory card may take a second to write.

    Args:
        keep: Gets the profiles; ``None`` if nobody wants them. If it fails, that is logged, and the run goes on.
        every_s: Seconds between two.
    """

    def __init__(self, keep: Callable[[LatencyProfile], None] | None, every_s: float) -> None:
        self._keep = keep
        self._every_s = every_s
        self._due_s = every_s
        self._thread: threading.Thread | None = None

    def offer(self, at_s: float, snapshot: Callable[[], LatencyProfile]) -> None:
        """Take a profile if it is time for one, and the one before has been written.

        Args:
            at_s: Seconds since the beginning of the run.
            snapshot: Makes the profile, in the thread that calls.
        """
        if self._keep is None or at_s < self._due_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._due_s = at_s + self._every_s
        with _survived():
            so_far = snapshot()
            self._thread = threading.Thread(target=_hand_over, args=(self._keep, so_far), name="edge-vseg-keeper")
            self._thread.start()

    def close(self) -> None:
        """Wait until the last one is written: what comes after it is not to be replaced by it."""
        if self._thread is not None:
            self._thread.join()


def _hand_over(keep: Callable[[LatencyProfile], None], profile: LatencyProfile) -> None:
    with _survived():
        keep(profile)


@contextmanager
def _survived() -> Iterator[None]:
    """The run is worth more than what is kept of its middle."""
    try:
        yield
    except Exception as exc:
        log.warning("what was counted so far could not be kept: %s", exc)
