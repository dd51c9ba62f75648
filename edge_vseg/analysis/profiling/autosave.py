"""Save the profile of a running run about once a minute, so that a power cut does not lose the night."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_vseg.analysis.profiling.latency_profile import LatencyProfile

log = logging.getLogger(__name__)

AUTOSAVE_INTERVAL_S = 60.0


class Autosave:
    """Saves profiles in a thread of its own, because a memory card may take a second to write.

    Args:
        save: Called with each profile; ``None`` to save nothing. An exception is logged and the run goes on.
        interval_s: Seconds between two saves.
    """

    def __init__(self, save: Callable[[LatencyProfile], None] | None, interval_s: float) -> None:
        self._save = save
        self._interval_s = interval_s
        self._due_s = interval_s
        self._thread: threading.Thread | None = None

    def update(self, at_s: float, snapshot: Callable[[], LatencyProfile]) -> None:
        """Save a profile if one is due and the last save has finished.

        Args:
            at_s: Seconds since the start of the run.
            snapshot: Makes the profile, in the calling thread.
        """
        if self._save is None or at_s < self._due_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._due_s = at_s + self._interval_s
        with _log_errors():
            profile = snapshot()
            self._thread = threading.Thread(target=_save_safely, args=(self._save, profile), name="edge-vseg-autosave")
            self._thread.start()

    def close(self) -> None:
        """Wait for the last save, so that it cannot overwrite the final profile."""
        if self._thread is not None:
            self._thread.join()


def _save_safely(save: Callable[[LatencyProfile], None], profile: LatencyProfile) -> None:
    with _log_errors():
        save(profile)


@contextmanager
def _log_errors() -> Iterator[None]:
    """The run matters more than an intermediate save."""
    try:
        yield
    except Exception as exc:
        log.warning("the profile so far could not be saved: %s", exc)
