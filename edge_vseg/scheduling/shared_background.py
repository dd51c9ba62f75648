"""One background lane for several cameras: the next keyframe goes to the camera that gains most by it.

Every camera has a frame lane of its own, which answers each frame; the network that all of them wait for runs one
keyframe at a time. A camera that is allowed to begin one takes the frame at hand, so nothing grows old in a queue: a
frame waits only while the keyframe before it is nearly done.

Reference: none for label maps. Sharing one detector between cameras by what each would gain: Hung et al., VideoEdge:
Processing Camera Streams using Hierarchical Clusters, 2018; the gain here is the predicted drift.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import cast

from edge_vseg.errors import OptionError
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling.background import BackgroundRun, BackgroundWorker, Bid, Job, JobCancelledError, RunPart, T
from edge_vseg.scheduling.background_turns import BackgroundTurns
from edge_vseg.scheduling.camera_turns import CameraTurns
from edge_vseg.scheduling.session_pool import SessionPool
from edge_vseg.scheduling.steps import Step
from edge_vseg.scheduling.variant_sessions import SessionOpener, VariantSessions
from edge_vseg.types import BackgroundSpan

SILENT_AFTER_PERIODS = 3.0
"""A camera that has not asked for so many of its frames has stalled, and nobody waits for it."""
PROMISED_NS = 5_000_000
"""How long nobody else is allowed to begin after a camera was, which begins within the same frame or not at all."""


class SharedBackground:
    """A worker that several cameras share.

    Args:
        turns: Decides when parts may run; by default at once where there is a second core, else between frames.

    Attributes:
        pool: Sessions that frame lanes share.

    Example:
        >>> from edge_vseg import OpenOptions, Segmenter
        >>> from edge_vseg.scheduling.shared_background import SharedBackground
        >>> shared = SharedBackground()
        >>> cameras = [
        ...     Segmenter.open("street.evseg", policy="async", options=OpenOptions(background=shared.join()))
        ...     for _ in range(2)
        ... ]
        >>> for camera in cameras:
        ...     camera.close()
    """

    def __init__(self, turns: BackgroundTurns | None = None) -> None:
        self.pool = SessionPool()
        self._turns = turns or BackgroundTurns(beside_frames=usable_cores() > 1)
        self._lock = threading.RLock()
        self._cameras: list[CameraBackground] = []
        self._sessions: dict[str, VariantSessions] = {}
        self._worker: BackgroundWorker | None = None
        self._running: CameraBackground | None = None
        self._ends_ns = 0
        self._waiting: CameraBackground | None = None
        self._promised: tuple[CameraBackground, int] | None = None

    def join(self, *, weight: float = 1.0, max_wait_ms: float = 2000.0) -> CameraBackground:
        """Take part.

        Args:
            weight: What an outdated pixel of this camera counts, compared with those of others.
            max_wait_ms: A camera that has had no turn for so long comes first, whatever the others would gain.

        Raises:
            OptionError: If one of them is not positive and finite.
        """
        if not (0 < weight < math.inf and 0 < max_wait_ms * 1e6 < math.inf):
            raise OptionError(f"weight and max_wait_ms must be positive and finite, got {weight} and {max_wait_ms}")
        camera = CameraBackground(self, weight, round(max_wait_ms * 1e6))
        self.enter(camera)
        return camera

    def enter(self, camera: CameraBackground) -> None:
        """Let a camera take part, in the place of whoever had its place before."""
        with self._lock:
            replaced = [each for each in self._cameras if each.place is camera.place and each is not camera]
            for each in replaced:
                self._cameras.remove(each)
            if camera not in self._cameras:
                self._cameras.append(camera)
        for each in replaced:
            each.turns.leave()

    def has_holder(self, place: object) -> bool:
        """Whether somebody takes part in a place."""
        with self._lock:
            return any(each.place is place for each in self._cameras)

    def leave(self, camera: CameraBackground) -> None:
        """End a camera's part; the worker ends with the last one."""
        with self._lock:
            if camera not in self._cameras:
                return
            self._cameras.remove(camera)
            if self._waiting is camera:
                self._waiting = None
            worker = self._worker if not self._cameras else None
            if worker is not None:
                self._worker = None
                self._sessions = {}  # it closes its own at its end, and may take long
        camera.turns.leave()
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """End the part of all cameras, and the worker with the last one."""
        for camera in self.cameras:
            camera.close()

    def replace_worker(self) -> None:
        """Leave a worker behind that hangs; the sessions are its own, so others are opened."""
        with self._lock:
            worker, self._worker = self._worker, None
            self._sessions = {}
            self._turns = BackgroundTurns(beside_frames=self._turns.beside_frames, clock=self._turns.clock)
            self._running = self._waiting = None
            for camera in self._cameras:
                camera.drop_waiting()
        if worker is not None:
            worker.abandon()

    @property
    def turns(self) -> BackgroundTurns:
        """What the cameras' turns are put together to."""
        return self._turns

    @property
    def cameras(self) -> list[CameraBackground]:
        """Those that take part."""
        with self._lock:
            return [*self._cameras]

    def grants(self, camera: CameraBackground, now_ns: int) -> bool:
        """Whether a camera may begin a keyframe now."""
        with self._lock:
            if self._waiting is not None or camera not in self._cameras:
                return False
            if self._promised is not None and self._promised[0] is not camera and now_ns < self._promised[1]:
                return False
            if self._running is not None and self._ends_ns - now_ns > camera.bid.period_ms * 1e6:
                return False
            wanting = [each for each in self._cameras if each is camera or each.competes(now_ns)]
            granted = max(wanting, key=lambda each: each.rank(now_ns)) is camera
            if granted:
                self._promised = camera, now_ns + PROMISED_NS
            return granted

    def end_promise(self, turns: BackgroundTurns) -> None:
        """The frame of the camera with these turns is over: if it was allowed to begin, it did not."""
        with self._lock:
            if self._promised is not None and self._promised[0].turns is turns:
                self._promised = None

    def start(self, camera: CameraBackground, job: Job[T]) -> BackgroundRun[T]:
        """Hand over a job of a camera."""
        with self._lock:
            if self._worker is None:
                kept = self._sessions
                self._worker = BackgroundWorker(lambda: _AllSessions(kept), self._turns)  # type: ignore[arg-type, return-value]
            self._waiting, self._promised = camera, None
            sessions, worker = self._sessions, self._worker

        def work(_: VariantSessions, part: RunPart) -> T:
            with self._lock:
                if self._worker is worker:
                    self._running, self._waiting = camera, None if self._waiting is camera else self._waiting
                    self._ends_ns = self._turns.clock() + round(camera.bid.cost_ms * 1e6)
            try:
                if camera.network not in sessions:
                    sessions[camera.network] = camera.open_sessions()
                return job(sessions[camera.network], camera.recording(part))
            finally:
                with self._lock:
                    if self._worker is worker and self._running is camera:
                        self._running = None

        try:
            run = worker.start(work)
        except BaseException:  # such as a thread that cannot be started: the next one may
            with self._lock:
                self._waiting = None if self._waiting is camera else self._waiting
            raise
        worker.take_spans()  # cameras keep their own
        return run


class _AllSessions:
    """The sessions of all variants, which the worker closes at its end."""

    def __init__(self, sessions: dict[str, VariantSessions]) -> None:
        self._sessions = sessions

    def close(self) -> None:
        for each in self._sessions.values():
            each.close()
        self._sessions.clear()


class CameraBackground:
    """A camera's part of a shared background lane; see :class:`~edge_vseg.scheduling.background.Background`.

    Attributes:
        turns: The camera's part of the turns.
        bid: What it last asked for.
        network: Which network the camera runs, and how; cameras of the same share sessions.
        open_sessions: Opens them.
        place: Its place among the cameras, which one segmenter has at a time.
    """

    def __init__(self, shared: SharedBackground, weight: float, max_wait_ns: int, place: object | None = None) -> None:
        self.place = place or object()
        self.turns = CameraTurns(shared)
        self.bid = Bid(gain=0.0, cost_ms=0.0, period_ms=0.0)
        self.network = ""
        self.open_sessions: Callable[[], VariantSessions] = _not_connected
        self._shared = shared
        self._weight = weight
        self._max_wait_ns = max_wait_ns
        self._asked_ns: int | None = None
        self._served_ns: int | None = None
        self._granted = False
        self._spans: queue.SimpleQueue[BackgroundSpan] = queue.SimpleQueue()
        self._under_way: Future[object] | None = None

    def renewed(self) -> CameraBackground:
        """The same place for another segmenter of the camera, which takes it with :meth:`connect`."""
        return CameraBackground(self._shared, self._weight, self._max_wait_ns, self.place)

    def connect(self, open_sessions: Callable[[], VariantSessions]) -> CameraBackground:
        """Say how the worker opens the network's sessions; it has the camera's place from now on."""
        self.open_sessions = open_sessions
        self._shared.enter(self)
        return self

    def lend(self, opener: SessionOpener) -> SessionOpener:
        """An opener of sessions that the frame lanes of cameras with the same network share."""
        return self._shared.pool.opener(self.network, opener)

    def grants(self, bid: Bid) -> bool:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        now_ns = self.turns.clock()
        self.bid, self._asked_ns = bid, now_ns
        if not self._shared.has_holder(self.place):  # the segmenter that was to replace this one did not stay
            self._shared.enter(self)
        if self._served_ns is None:
            self._served_ns = now_ns
        allowed = self._shared.grants(self, now_ns)
        # Whoever was allowed to begin and did not has nothing to gain at the moment, and has waited for nothing.
        self._granted = allowed and not self.rests(now_ns)
        if self._granted:
            self._served_ns = now_ns
        return allowed

    def rests(self, now_ns: int) -> bool:
        """Whether nobody may begin now, whoever comes first: to keep to its share of the machine."""
        return self.turns.rests(now_ns, self.bid.period_ms * 1e6 / 2)

    def wait_ms(self, job_ms: float) -> float:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        return self.turns.rest_ms(job_ms) + self._max_wait_ns / 1e6

    def competes(self, now_ns: int) -> bool:
        """Whether others have to wait for it: it asks, has nothing under way, and does not let its turns pass."""
        if self._asked_ns is None or self._granted or (self._under_way is not None and not self._under_way.done()):
            return False
        return now_ns - self._asked_ns <= SILENT_AFTER_PERIODS * self.bid.period_ms * 1e6

    def rank(self, now_ns: int) -> tuple[bool, float]:
        """Who comes first: who has waited longest of those who waited too long, else who gains most a millisecond."""
        waited_ns = now_ns - (self._served_ns if self._served_ns is not None else now_ns)
        if waited_ns >= self._max_wait_ns:
            return True, waited_ns
        return False, self._weight * self.bid.gain / max(self.bid.cost_ms, 1e-3)

    def start(self, job: Job[T]) -> BackgroundRun[T]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        self._granted, self._served_ns = False, self.turns.clock()
        run = self._shared.start(self, job)
        self._under_way = cast("Future[object]", run)
        return run

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        spans: list[BackgroundSpan] = []
        with contextlib.suppress(queue.Empty):
            while True:
                spans.append(self._spans.get_nowait())
        return tuple(spans)

    def recording(self, part: RunPart) -> RunPart:
        """Remember the parts that run for this camera."""

        def recorded(step: Step, work: Callable[[], T], /, *, first: bool = False, patience_s: float = math.inf) -> T:
            begun = [0]

            def timed() -> T:
                begun[0] = time.monotonic_ns()
                return work()

            made = part(step, timed, first=first, patience_s=patience_s)
            self._spans.put(BackgroundSpan(step=str(step), start_ns=begun[0], end_ns=time.monotonic_ns()))
            return made

        return recorded

    def drop_waiting(self) -> None:
        """Give up what waits for a worker that hangs; it is begun again with a later frame."""
        run = self._under_way
        if run is not None and not run.done():
            with contextlib.suppress(InvalidStateError):  # the worker that hung has just finished after all
                run.set_exception(JobCancelledError("the worker hung with another camera's keyframe"))

    def abandon(self) -> None:
        """See :class:`~edge_vseg.scheduling.background.Background`."""
        self._shared.replace_worker()

    def close(self) -> None:
        """Take part no longer."""
        self._shared.leave(self)


def _not_connected() -> VariantSessions:
    raise OptionError("this part of a shared background belongs to no segmenter; give it to OpenOptions(background=)")
