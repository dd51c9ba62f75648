"""Sessions that several segmenters of one network share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from edge_vseg.errors import SessionError
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.scheduling.first_runs import FirstRuns
from edge_vseg.scheduling.variant_sessions import SessionOpener
from edge_vseg.types import Tensor

HANG_S = 10.0
"""A run of another camera that takes longer hangs; nobody waits for it any more."""
FIRST_RUN_S = 900.0
"""The same of the first run of a graph that has never run, at which some runtimes compile for minutes. One that is
opened again has :data:`~edge_vseg.scheduling.first_runs.PATIENCE` times what its first run took before, if that is more
than :data:`HANG_S`."""
CLOSE_TIMEOUT_S = 5.0


class SessionPool:
    """Opens each graph once, and lends it to whoever asks for it.

    A session takes one thread at a time, so runs of one graph wait for each other; they would share the cores anyway.
    A graph is closed when the last one gives it back. One that hangs in the run of one camera is left to it, and opened
    again for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], _Shared] = {}
        self._first_runs = FirstRuns()

    def opener(self, network: str, opener: SessionOpener) -> SessionOpener:
        """An opener that lends.

        Args:
            network: Those who say the same share graphs of the same entry: bundle, variant and how it is opened.
            opener: Opens what nobody has opened yet.
        """

        def lend(entry: str, spec: GraphSpec) -> Session:
            return self._lend((network, entry), lambda: opener(entry, spec))

        return lend

    def _lend(self, key: tuple[str, str], open_session: Callable[[], Session]) -> Session:
        return _LentSession(lambda: self._borrow(key, open_session), lambda shared: self._take_back(key, shared))

    def _borrow(self, key: tuple[str, str], open_session: Callable[[], Session]) -> _Shared:
        with self._lock:
            shared = self._open.get(key)
            if shared is None or shared.hangs:
                shared = self._open[key] = _Shared(open_session(), self._first_runs, " ".join(key))
            shared.lent += 1
            return shared

    def _take_back(self, key: tuple[str, str], shared: _Shared) -> None:
        with self._lock:
            shared.lent -= 1
            if shared.lent:
                return
            if self._open.get(key) is shared:
                del self._open[key]
        # One that hangs stays open: its thread is inside, and whoever closes must not wait for it.
        if not shared.hangs and shared.lock.acquire(timeout=CLOSE_TIMEOUT_S):
            try:
                shared.session.close()
            finally:
                shared.lock.release()


class _Shared:
    def __init__(self, session: Session, first_runs: FirstRuns, graph: str) -> None:
        self.session = session
        self._first_runs, self._graph = first_runs, graph
        self.lock = threading.Lock()
        self.lent = 0
        self.hangs = False
        self.has_run = False

    def wait_for_turn(self) -> bool:
        """Take the lock; returns whether that worked, or the run of who has it hangs."""
        end_s = time.monotonic() + min(FIRST_RUN_S, self._first_runs.patience_s(self._graph))
        while not self.lock.acquire(timeout=HANG_S):
            if self.has_run or time.monotonic() >= end_s:
                return False
        return True

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run it; who calls has the lock."""
        if self.has_run:
            return self.session.run(inputs)
        with self._first_runs.timed(self._graph):
            made = self.session.run(inputs)
        self.has_run = True
        return made


class _LentSession:
    """A session of the pool; see :class:`~edge_vseg.runtimes.port.Session`."""

    def __init__(self, borrow: Callable[[], _Shared], give_back: Callable[[_Shared], None]) -> None:
        self._borrow = borrow
        self._shared = borrow()
        self._give_back = give_back
        self._closed = False

    @property
    def provider(self) -> str:
        return self._shared.session.provider

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self._closed:
            raise SessionError("the session is closed")
        shared = self._shared
        if shared.hangs:
            self._shared = self._borrow()
            self._give_back(shared)
            shared = self._shared
        if not shared.wait_for_turn():
            shared.hangs = True
            raise SessionError("the graph hangs in the frame of another camera; it is opened again for the next frame")
        try:
            return shared.run(inputs)
        finally:
            shared.lock.release()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._give_back(self._shared)
