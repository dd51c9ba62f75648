"""How long graphs took to open and to run for the first time, so that who reopens one knows when it hangs."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

PATIENCE = 5.0
"""A graph that is opened again may take so many times as long as it ever took before."""


class FirstRuns:
    """What is known of the graphs of one network, opened in one way; threads may share it."""

    def __init__(self) -> None:
        self._longest_s: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note how long it takes unless it raises, also where nobody waits for it any more: it was slow and no hang."""
        begin_s = time.monotonic()
        yield
        self._longest_s[what] = max(self._longest_s.get(what, 0.0), time.monotonic() - begin_s)

    def patience_s(self, *whats: str) -> float:
        """How long all of them together may take; infinity if one is new."""
        return PATIENCE * sum(self._longest_s.get(what, math.inf) for what in whats)


_NETWORKS: dict[str, FirstRuns] = {}


def first_runs_of(network: str) -> FirstRuns:
    """What this process knows of a network; it outlives sessions, workers and segmenters.

    Args:
        network: What its times depend on: bundle, variant and how it is opened.
    """
    return _NETWORKS.setdefault(network, FirstRuns())
