"""The engine's side of the background lane: hand over a frame, take what was made of it, survive a failing worker."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
from collections.abc import Callable

from edge_vseg.decision import Work
from edge_vseg.errors import OptionError, SessionError
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background import (
    Background,
    BackgroundRun,
    Bid,
    Job,
    JobCancelledError,
    RunPart,
    T,
    describe_failure,
)
from edge_vseg.scheduling.costs import CostMeter
from edge_vseg.scheduling.map_maker import MapMaker
from edge_vseg.scheduling.state import BackgroundJob, CarriedContext, EngineState, Made, Past, ShownMap, Track
from edge_vseg.scheduling.steps import Step
from edge_vseg.scheduling.variant_sessions import VariantSessions
from edge_vseg.types import BackgroundSpan, Image, Size, Tensor

log = logging.getLogger(__name__)

MIN_HANG_S = 10.0
HANG_FACTOR = 30.0
"""A job that takes so many times as long as expected, and at least :data:`MIN_HANG_S`, hangs."""
OPEN_S = 900.0
"""So does a worker that has opened graphs for so long, or run them for the first time: some runtimes compile for
minutes, at the one or the other, which no later run tells. That is for graphs that are new to this process; one
that is opened again has :data:`~edge_vseg.scheduling.first_runs.PATIENCE` times what it took before, and a job's time.
"""
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 60.0
"""Pause before another try after the second failure in a row; it doubles with each further one."""


class BackgroundLane:
    """Hands one frame at a time to a worker.

    Args:
        open_worker: Makes the worker, and another one in place of a worker that hangs.
        preprocess: Makes the network's input of an image on the worker; no other thread uses it.
        maker: Makes maps on the worker; no other thread uses it.
        meter: Learns how long the network takes in the background.
        clock: Time in ns.
    """

    def __init__(
        self,
        open_worker: Callable[[], Background],
        preprocess: Callable[[Image], Tensor],
        maker: MapMaker,
        meter: CostMeter,
        clock: Callable[[], int],
    ) -> None:
        self.worker = open_worker()
        self._open_worker = open_worker
        self._preprocess = preprocess
        self._maker = maker
        self._meter = meter
        self._clock = clock
        self._failures = 0
        self._retry_ns = 0
        self._dropped: BackgroundJob | None = None

    def grants(self, bid: Bid) -> bool:
        """Whether a frame can be handed over: not for a while after failures, nor when it is another camera's turn."""
        return self._clock() >= self._retry_ns and self.worker.grants(bid)

    def launch(
        self, state: EngineState, image: Image, track: Track, past: Past | None, work: Work, labels_hw: Size
    ) -> None:
        """Hand over the frame at hand.

        Args:
            state: The engine's state.
            image: ``(H, W, 3)`` uint8; copied, for the caller may overwrite his own.
            track: Begins at the frame.
            past: What its map is fused with.
            work: What to make of it.
            labels_hw: Size of the label map.

        Raises:
            OptionError: If a frame is under way already.
            SessionError: If the worker cannot be started.
        """
        if state.job is not None:
            raise OptionError("the policy launches a keyframe before it has collected the last one")
        tensor = functools.partial(self._preprocess, image.copy())
        job = _job(self._maker, track.copy(), past, work, tensor, labels_hw, whole=self._in_one_piece(work))
        try:
            run = self.worker.start(job)
        except SessionError as exc:
            self._fail(state, exc)
            raise
        state.job = BackgroundJob(work=work, run=run, track=track, started_ns=self._clock())

    def collect(self, state: EngineState) -> Made:
        """Take what the worker has made; waits for it.

        Raises:
            OptionError: If nothing is under way.
            SessionError: If the job failed.
        """
        job = state.job
        if job is None:
            raise OptionError("the policy collects a keyframe that it has not launched")
        turns = self.worker.turns
        try:
            with contextlib.nullcontext() if job.run.done() else turns.awaited():
                made = self._result(job.run)
        except Exception as exc:  # whatever the worker met, this is the frame that tells
            self._fail(state, exc)
            raise describe_failure(exc) from exc
        state.job, self._failures = None, 0
        for each in (made.shown, made.context):
            if each is not None:
                each.track = job.track  # the worker had it as it was at the start; this one leads to the present
        if job.run.duration_ns:
            self._meter.record(steps.BACKGROUND, job.run.duration_ns)
        return made

    def check(self, state: EngineState) -> None:
        """Notice a job that failed or hangs, also one that was dropped: those behind it would wait for ever.

        Raises:
            SessionError: With its cause; the next frame may launch another.
        """
        if self._dropped is not None and self._dropped.run.done():
            self._dropped = None
        job = self._dropped or state.job
        if job is None:
            return
        if not job.run.done():
            opening_s = job.run.opening_ns / 1e9
            working_s = (self._clock() - job.started_ns) / 1e9 - opening_s
            if opening_s <= OPEN_S and working_s <= self._hang_s():
                return
            error: Exception = TimeoutError()
        else:
            try:
                job.run.result(0)
                return
            except Exception as exc:
                error = exc
        self._fail(state, error)
        if not isinstance(error, JobCancelledError):
            raise describe_failure(error) from error

    def cancel(self, state: EngineState) -> None:
        """Drop the job under way; it ends with its next part."""
        job, state.job = state.job, None
        if job is not None:
            job.run.cancel_parts()
            self._dropped = self._dropped or job

    def take_spans(self) -> tuple[BackgroundSpan, ...]:
        """The parts that ran since the last call."""
        return self.worker.take_spans()

    def close(self) -> None:
        """End the worker."""
        self.worker.close()

    def _in_one_piece(self, work: Work) -> bool:
        """Slices cost a little more than the whole graph; they are for pauses, and for stopping halfway."""
        turns = self.worker.turns
        return work is Work.KEYFRAME and turns.beside_frames

    def _hang_s(self) -> float:
        expected_ms = self._meter.margin.factor * self._meter.network_ms()
        return max(MIN_HANG_S, HANG_FACTOR * expected_ms / 1e3)

    def _result(self, run: BackgroundRun[Made]) -> Made:
        """Wait for a job, unless it hangs; as long as the worker opens graphs, or runs new ones, it does not."""
        while True:
            opening_ns = run.opening_ns
            try:
                return run.result(self._hang_s())
            except concurrent.futures.TimeoutError as exc:  # not the built-in one before Python 3.11
                if run.done():
                    return run.result(0)
                if not opening_ns < run.opening_ns <= OPEN_S * 1e9:
                    raise TimeoutError from exc

    def _fail(self, state: EngineState, error: Exception) -> None:
        state.job = None
        if isinstance(error, JobCancelledError):
            return
        self._failures += 1
        if self._failures > 1:
            pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._failures - 2))
            self._retry_ns = self._clock() + round(pause_s * 1e9)
        if isinstance(error, TimeoutError):
            log.error("the background worker hangs in its runtime; another one takes its place")
            self.worker.abandon()
            self.worker, self._dropped = self._open_worker(), None


def _job(
    maker: MapMaker,
    track: Track,
    past: Past | None,
    work: Work,
    tensor: Callable[[], Tensor],
    size: Size,
    *,
    whole: bool,
) -> Job[Made]:
    """What the worker does for a frame: the network in one or more parts, then its map, all but the last warp."""

    def job(sessions: VariantSessions, part: RunPart) -> Made:
        variant, name = sessions.variant, sessions.input.name
        if work is Work.KEYFRAME and (whole or not variant.slices):
            _open(sessions, None, part)
            given = part(steps.PREPROCESS, tensor)
            raw = _run(sessions, None, part, steps.INFER, functools.partial(sessions.run_whole, given))
            return Made(shown=part(steps.LABELS, lambda: _finished(maker, raw, track, past, size)), context=None)
        end = len(variant.slices)
        if work is Work.CONTEXT:
            assert variant.context is not None
            end = variant.context[1]
        _open(sessions, end, part)
        tensors: dict[str, Tensor] = {name: part(steps.PREPROCESS, tensor)}
        for number in range(end):
            run_slice = functools.partial(sessions.run_slice, number, tensors)
            tensors |= _run(sessions, number, part, steps.slice_step(number), run_slice)
        carried = {spec.name: tensors[spec.name] for spec in variant.carried} if variant.context is not None else {}
        context = CarriedContext(tensors=carried, track=track) if carried else None
        if work is Work.CONTEXT:
            return Made(shown=None, context=context)
        raw = tensors[sessions.output.name]
        return Made(shown=part(steps.LABELS, lambda: _finished(maker, raw, track, past, size)), context=context)

    return job


def _open(sessions: VariantSessions, slices: int | None, part: RunPart) -> None:
    """In a part of its own, so that it counts neither as the network's time nor as a worker that hangs."""
    if not sessions.is_open(slices):
        patience_s = sessions.opening_patience_s(slices)
        part(steps.OPEN, functools.partial(sessions.open, slices), patience_s=patience_s)


def _run(sessions: VariantSessions, number: int | None, part: RunPart, step: Step, run: Callable[[], T]) -> T:
    """Run a slice, or the whole graph; a first run counts as opening."""
    if sessions.has_run(number):
        return part(step, run)
    return part(step, run, first=True, patience_s=sessions.first_run_patience_s(number))


def _finished(maker: MapMaker, raw: Tensor, track: Track, past: Past | None, size: Size) -> ShownMap:
    shown = maker.make(raw, track, past)
    maker.label_map(shown, size)
    return shown
