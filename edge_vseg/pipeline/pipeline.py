"""Capture and segment in the background, for a control loop that must not wait."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import (
    ForkError,
    OptionError,
    PipelineClosedError,
    PipelineEndedError,
    PipelineFailedError,
)
from edge_vseg.motion import CODEC
from edge_vseg.pipeline.board import Accept, PipelineCounts, Posted, ResultBoard
from edge_vseg.pipeline.freshness import UNLIMITED, AgeLimits
from edge_vseg.pipeline.health import Health
from edge_vseg.pipeline.health_watch import HealthWatch
from edge_vseg.pipeline.intake import FrameIntake
from edge_vseg.pipeline.monitor import PipelineMonitor
from edge_vseg.pipeline.options import DEFAULT_PIPELINE_OPTIONS, PipelineOptions, check_options, schedule_of
from edge_vseg.pipeline.same_bundle import open_same_bundle
from edge_vseg.pipeline.subscription import Subscription
from edge_vseg.pipeline.supervisor import Supervisor
from edge_vseg.scheduling.policies import Policy
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame, Result
from edge_vseg.video import Source, open_source

log = logging.getLogger(__name__)


class Pipeline:
    """A camera and a segmenter at work in the background. Open it with :meth:`open`; close it, or use ``with``.

    Ask it from any thread. No result is handed out that is older than it may be: see :meth:`latest`. All who ask get
    the same one, so its label map is read-only; copy it to write to it. A pipeline that is dropped without being closed
    ends by itself, unless a callback is subscribed.

    Attributes:
        labels: The classes, by id.
        source_name: Name of the source.
        bundle_name: Name of the bundle, of its manifest.
        variant: Id of the variant in use.
        provider: Its provider, device or delegate.

    Example:
        >>> from edge_vseg import Pipeline, StaleError
        >>> with Pipeline.open("street.evseg", "drive.mp4", deadline_ms=1000) as pipeline:
        ...     result = pipeline.wait(timeout_ms=20_000)
        ...     try:
        ...         result = pipeline.latest(max_age_ms=10_000)
        ...     except StaleError as error:
        ...         print("blind:", error)
        >>> result.labels.shape
        (192, 256)
    """

    def __init__(
        self,
        open_segmenter: Callable[[], Segmenter],
        source: Source,
        *,
        policy: Policy | None = None,
        options: PipelineOptions = DEFAULT_PIPELINE_OPTIONS,
        first: Segmenter | None = None,
    ) -> None:
        """Start; :meth:`open` is the usual way.

        Args:
            open_segmenter: Opens a segmenter, the first and after each restart.
            source: Owned from now on: the pipeline reads and closes it.
            policy: The policy of the segmenters.
            options: Limits of age, restarts and health.
            first: The first segmenter, if it is open.
        """
        first = first or open_segmenter()
        self.labels: tuple[Label, ...] = first.bundle.manifest.labels
        self.source_name = source.name
        self.bundle_name = first.bundle.manifest.name
        self.variant, self.provider = first.variant.id, first.provider
        self._options = options
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._intake = FrameIntake(source)
        self._board = ResultBoard(lambda: source.counts)
        limit_ms = options.max_age_ms
        if limit_ms is None and not source.has_capture_times:  # a recording that is read flat out: nothing in it is old
            limit_ms = UNLIMITED.frame_ms
        self._monitor = PipelineMonitor(source.fps, policy, options.health, limit_ms)
        self._subscriptions: list[Subscription] = []
        reopen = functools.partial(open_same_bundle, open_segmenter, first.bundle)
        self._supervisor = Supervisor(reopen, self._intake, self._board, self._monitor, options)
        self._watch = watch = HealthWatch(self._intake, self._board, self._monitor, self._supervisor)
        # Nothing that the threads hold leads back to the pipeline, so that one that is dropped is noticed.
        self._supervisor.start(first, on_look=lambda: watch.health)
        self._dropped = weakref.finalize(
            self, _end_dropped, source.name, self._pid, self._board, self._intake, self._supervisor
        )
        self._dropped.atexit = False

    @classmethod
    def open(
        cls,
        bundle: str | Path,
        source: str | Path | int | Source,
        *,
        deadline_ms: float | None = None,
        runtime: str = "auto",
        policy: str | Policy | None = None,
        device_profile: str | Path | None = None,
        threads: int = 0,
        options: PipelineOptions = DEFAULT_PIPELINE_OPTIONS,
    ) -> Pipeline:
        """Open a bundle and a source, and start.

        Args:
            bundle: Directory of the bundle.
            source: What :func:`~edge_vseg.video.open_source` takes, or an open source, which the pipeline then owns. A
                recording is played in real time, unless ``options.playback`` says otherwise.
            deadline_ms: Milliseconds from a frame's turn to its labels: short for ``policy=Deadline(milliseconds=…)``.
            runtime: See :meth:`Segmenter.open`, as for the next three.
            policy: What schedules frames, if it is not a deadline alone; ``None`` for the bundle's own, or every frame.
            device_profile: File that ``edge-vseg calibrate`` wrote.
            threads: Worker threads of the segmenter; 0 leaves the choice to the runtime.
            options: Limits of age, restarts and health, and the rarer options of the segmenter.

        Raises:
            OptionError: If an option is impossible, or a policy and a deadline are given.
            BundleError: If the bundle cannot be read or trusted.
            BackendError: If no variant can be opened.
            VideoError: If the source cannot be opened.

        Example:
            >>> from edge_vseg import Pipeline
            >>> with Pipeline.open("street.evseg", "drive.mp4", policy="fixed", threads=2) as pipeline:
            ...     seqs = [result.seq for result in pipeline]
            >>> pipeline.counts.in_flight
            0
        """
        check_options(options)
        schedule = schedule_of(policy, deadline_ms)
        open_segmenter = functools.partial(
            Segmenter.open,
            bundle,
            runtime=runtime,
            policy=schedule,
            device_profile=device_profile,
            threads=threads,
            options=options.segmenter,
        )
        # First the segmenter: while it opens, a recording would be played to nobody.
        first = open_segmenter()
        try:
            if not isinstance(source, Source):
                live = True if options.playback == "real-time" else None
                source = open_source(source, live=live, codec_motion=first.policy.motion == CODEC)
            return cls(open_segmenter, source, policy=first.policy, options=options, first=first)
        except BaseException:
            first.close()
            raise

    def latest(self, *, max_age_ms: float | None = None) -> Result:
        """The newest result; never waits.

        Args:
            max_age_ms: How old it may be, from the capture of the image that its oldest labels come from until now,
                unless nothing has moved since. ``None`` for the options' limit; without one its frame may be three
                periods old, of the source or of the segmenter if that is slower, and its labels as much older as the
                policy lets maps become.

        Raises:
            StaleError: If it is older, or there is none yet.
            PipelineFailedError: If the pipeline has given up.
            PipelineClosedError: If it is closed.
            ForkError: If it was opened before a fork.
        """
        self._check_process()
        limits, now_ns = self._limits(max_age_ms), time.monotonic_ns()
        self._raise_if_over()
        posted = self._board.newest
        if posted is None or limits.expired_ns(posted.result) < now_ns:
            raise self._watch.stale(posted, limits)
        return posted.result

    def wait(
        self, after_seq: int | None = None, *, timeout_ms: float | None = None, max_age_ms: float | None = None
    ) -> Result:
        """The next result.

        Args:
            after_seq: A frame number: the first result of a later frame is returned, at once if it is there and young
                enough. ``None`` for the first one after this call.
            timeout_ms: How long to wait; ``None`` for ever.
            max_age_ms: As for :meth:`latest`; results that are older are passed over.

        Raises:
            PipelineTimeoutError: If there is none in time; the message says why.
            PipelineEndedError: If the source has ended.
            PipelineFailedError: If the pipeline has given up.
            PipelineClosedError: If it is closed.
            ForkError: If it was opened before a fork.
        """
        self._check_process()
        accept = self._after(after_seq, self._limits(max_age_ms))
        return self._in_time(self._board.wait(accept, _seconds(timeout_ms)), timeout_ms)

    async def wait_async(
        self, after_seq: int | None = None, *, timeout_ms: float | None = None, max_age_ms: float | None = None
    ) -> Result:
        """The next result, for asyncio: as :meth:`wait`, and other tasks run meanwhile."""
        from edge_vseg.pipeline.async_results import wait_for_result

        self._check_process()
        accept = self._after(after_seq, self._limits(max_age_ms))
        return self._in_time(await wait_for_result(self._board, accept, _seconds(timeout_ms)), timeout_ms)

    def __iter__(self) -> Iterator[Result]:
        """Each newest result, at most once, until the source ends or the pipeline is closed."""
        self._check_process()
        self._raise_if_over()
        return self._iterate()

    def _iterate(self) -> Iterator[Result]:
        number = 0
        with contextlib.suppress(PipelineEndedError, PipelineClosedError):
            while posted := self._board.wait(self._newer(number), None):
                number = posted.number
                yield posted.result

    async def __aiter__(self) -> AsyncIterator[Result]:
        """Each newest result, at most once, for ``async for``."""
        from edge_vseg.pipeline.async_results import wait_for_result

        self._check_process()
        self._raise_if_over()
        number = 0
        with contextlib.suppress(PipelineEndedError, PipelineClosedError):
            while posted := await wait_for_result(self._board, self._newer(number), None):
                number = posted.number
                yield posted.result

    def subscribe(self, function: Callable[[Result], object]) -> Subscription:
        """Call a function with each newest result, in a thread of its own, until the pipeline ends.

        Args:
            function: Takes a result. If it is slow it loses results, and nobody else does; if it raises, that is
                reported and it is called again, up to ``options.max_callback_failures`` times in a row.

        Returns:
            Counts, and ``close()`` to end it earlier.
        """
        return self._subscribe(lambda posted: function(posted.result), function)

    def subscribe_frames(self, function: Callable[[Frame, Result], object]) -> Subscription:
        """Call a function with each newest frame and its result, as :meth:`subscribe` does with the result alone.

        Args:
            function: Takes a frame, whose image it must not change, and its result.
        """
        return self._subscribe(lambda posted: function(posted.frame, posted.result), function)

    def _subscribe(self, call: Callable[[Posted], object], function: Callable[..., object]) -> Subscription:
        if not callable(function):
            raise OptionError(f"a subscription calls a function with each result, got {function!r}; give its name")
        self._check_process()
        self._raise_if_over()
        subscription = Subscription(
            call,
            self._board,
            lambda posted: self._is_fresh(posted, self._monitor.age_limits),
            max_failures=self._options.max_callback_failures,
            name=getattr(function, "__name__", "callback"),
        )
        self._subscriptions = [*(each for each in self._subscriptions if each.active), subscription]
        return subscription

    @property
    def counts(self) -> PipelineCounts:
        """Where the frames went: captured = delivered + dropped + failed + in flight, at any moment."""
        self._check_process()
        return self._board.counts

    @property
    def health(self) -> Health:
        """How the pipeline is, why, and since when; also after it has failed or was closed."""
        self._check_process()
        return self._watch.health

    @property
    def active(self) -> bool:
        """Whether newer results may come: the source has not ended, and the pipeline is neither closed nor failed."""
        self._check_process()
        return self._board.ended_by is None

    @property
    def max_age_ms(self) -> float:
        """How old the frame of a result may be where the caller does not say."""
        return self._monitor.age_limits.frame_ms

    def close(self) -> None:
        """End everything in bounded time; from any thread, and more than once. Whoever waits hears of it."""
        if os.getpid() != self._pid:  # the threads and the camera are the parent's
            return
        self._watch.closed_ns = self._watch.closed_ns or time.monotonic_ns()
        self._dropped.detach()
        self._board.end(PipelineClosedError("the pipeline is closed; open it again"))
        own = any(each.is_current_thread for each in self._subscriptions)
        if not self._closing.acquire(blocking=not own):
            return  # whoever closes it waits for the callback that we are in
        try:
            self._intake.close()
            self._supervisor.stop(self._options.close_s)
            for subscription in self._subscriptions:
                subscription.close(self._options.close_s)
            self._subscriptions = []
        finally:
            self._closing.release()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        newest = self._board.newest
        return f"<Pipeline of {self.source_name}, {newest.number if newest else 0} results>"

    def _limits(self, max_age_ms: float | None) -> AgeLimits:
        return self._monitor.age_limits if max_age_ms is None else AgeLimits.both(max_age_ms)

    def _is_fresh(self, posted: Posted, limits: AgeLimits) -> bool:
        return limits.expired_ns(posted.result) >= time.monotonic_ns()

    def _newer(self, number: int) -> Accept:
        return lambda posted: posted.number > number and self._is_fresh(posted, self._monitor.age_limits)

    def _after(self, seq: int | None, limits: AgeLimits) -> Accept:
        if seq is not None:
            return lambda posted: posted.result.seq > seq and self._is_fresh(posted, limits)
        newest = self._board.newest
        number = newest.number if newest else 0
        return lambda posted: posted.number > number and self._is_fresh(posted, limits)

    def _in_time(self, posted: Posted | None, timeout_ms: float | None) -> Result:
        if posted is None:
            raise self._watch.timeout(timeout_ms)
        return posted.result

    def _raise_if_over(self) -> None:
        end = self._board.ended_by
        if isinstance(end, PipelineFailedError | PipelineClosedError):
            self._board.peek(lambda posted: False)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkError(
                "this pipeline was opened before the process was forked, and its threads are not in the child; open it"
                " in the child, or start children by multiprocessing's method 'spawn'"
            )


def _end_dropped(name: str, pid: int, board: ResultBoard, intake: FrameIntake, supervisor: Supervisor) -> None:
    """End the threads of a pipeline that nobody can ask any more.

    It may be collected in any thread, while that holds any lock: a thread of its own does it.
    """

    def end() -> None:
        log.warning("the pipeline of %s was dropped without close(); it is closed now", name)
        board.end(PipelineClosedError("the pipeline was dropped; open it again"))
        intake.close()
        supervisor.stop(0)

    if os.getpid() == pid:
        threading.Thread(target=end, name="edge-vseg dropped pipeline", daemon=True).start()


def _seconds(timeout_ms: float | None) -> float | None:
    if timeout_ms is not None and not timeout_ms >= 0:
        raise OptionError(f"timeout_ms must not be negative, got {timeout_ms}; None waits for ever")
    return None if timeout_ms is None or timeout_ms / 1000 > threading.TIMEOUT_MAX else timeout_ms / 1000
