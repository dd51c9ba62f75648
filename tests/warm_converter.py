"""The exporter's child process, kept from one export to the next: importing torch and the converters takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_vseg.child_process import ChildFailures, ChildProcess, ProcessLimits


class WarmChildren:
    """Hands out one process again and again; a second one at the same time is an ordinary one."""

    def __init__(self) -> None:
        self._kept: ChildProcess | None = None
        self._busy = False

    @contextmanager
    def __call__(self, name: str, limits: ProcessLimits, failures: ChildFailures) -> Iterator[ChildProcess]:
        """In the place of the class :class:`ChildProcess`, of the exporter only."""
        if self._busy:
            with ChildProcess(name, limits, failures) as other:
                yield other
            return
        self._kept = self._kept or ChildProcess(name, limits, failures)
        self._kept._limits, self._busy = limits, True
        try:
            yield self._kept
        finally:
            self._busy = False
            self._kept.progress = lambda line: None

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
