"""The pipeline behind the server, and its replacement when the schedule is changed."""

from __future__ import annotations

import functools
import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import EdgeVsegError, OptionError, PipelineError
from edge_vseg.pipeline import Health, Pipeline, PipelineCounts, PipelineOptions
from edge_vseg.pipeline.options import DEFAULT_PIPELINE_OPTIONS
from edge_vseg.pipeline.same_bundle import open_same_bundle
from edge_vseg.scheduling.policies import Policy
from edge_vseg.segmenter import Segmenter
from edge_vseg.serve.recorder import ObservedSegmenter, ResultLog, Seen
from edge_vseg.video import Source

log = logging.getLogger(__name__)

Phase: TypeAlias = Literal["running", "reopening", "failed"]
"""Whether there is a pipeline: ``reopening`` while the schedule is changed, ``failed`` if that left none."""

OPEN_TRIES = 5
OPEN_PAUSE_S = 0.5
"""A camera that was closed a moment ago may still be busy."""
_NO_COUNTS = PipelineCounts(captured=0, delivered=0, dropped=0, failed=0, in_flight=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stand:
    """The pipeline, and what those before it have counted; replaced in one step, so that no counter ever goes back.

    Attributes:
        pipeline: The pipeline; ``None`` between two.
        counts: Frames of those before it.
        restarts: Their restarts.
        reconnects: Their reconnects.
    """

    pipeline: Pipeline | None = None
    counts: PipelineCounts = _NO_COUNTS
    restarts: int = 0
    reconnects: int = 0


class ChangeUnderWayError(PipelineError):
    """The schedule is being changed already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """How segmenters and sources are opened, with any policy.

    Attributes:
        open_segmenter: Opens the bundle; ``ObservedSegmenter.open`` with its arguments.
        open_source: Opens the camera or the recording, live.
        options: Options of the pipeline.
    """

    open_segmenter: Callable[[Policy | None], ObservedSegmenter]
    open_source: Callable[[Policy | None], Source]
    options: PipelineOptions = DEFAULT_PIPELINE_OPTIONS


class LivePipeline:
    """A pipeline whose policy can be changed.

    A policy decides what a segmenter holds: sessions for slices, motion, a background worker. So a change opens another
    segmenter, while the old pipeline goes on; then the source is closed and opened again, which takes as long as the
    camera takes. If the segmenter cannot be opened with the new policy nothing has changed.

    Attributes:
        recorder: Is told of each result.
        labels: The classes.
        source_name: Name of the source, without credentials.
        bundle_name: Name of the bundle's folder.
        variant: Id of the variant in use.
        provider: Its provider, device or delegate.
        head: What the network gives: ``scores``, ``foreground`` or ``labels``.
        policy: The policy in use.

    Args:
        workplace: Opens segmenters and sources.
        policy: The first policy; ``None`` for the whole network on every frame.

    Raises:
        EdgeVsegError: What opening them raises.
    """

    def __init__(self, workplace: Workplace, policy: Policy | None = None) -> None:
        self.recorder = ResultLog()
        self._workplace = workplace
        self._changing = threading.Lock()
        self._phase: Phase = "running"
        self._reason = ""
        self._phase_since_ns = time.monotonic_ns()
        self._stand = _Stand()
        self._bundle: Bundle | None = None
        first = self._open_segmenter(policy)
        self._bundle = first.bundle
        manifest = first.bundle.manifest
        self.labels: tuple[Label, ...] = manifest.labels
        self.head = manifest.head.kind
        self.bundle_name = first.bundle.root.name
        try:
            self._start(first, workplace.open_source(policy), policy)
        except BaseException:
            first.close()
            raise

    def change(self, policy: Policy) -> None:
        """Run with another policy from now on; takes seconds.

        Raises:
            ChangeUnderWayError: If another change is under way, or the server stops.
            OptionError: If the source does not give what the policy needs; it is opened again with the old one.
            BundleFileError: If an update has put another bundle in its place; the old one goes on.
            EdgeVsegError: If the bundle cannot be opened with the policy; the old one goes on. Or if the source cannot
                be opened again; then there is no pipeline any more, and :attr:`health` says why.
        """
        if not self._changing.acquire(blocking=False):
            raise ChangeUnderWayError("the schedule is being changed already; wait until that is done")
        try:
            chosen: Policy | None = policy
            segmenter, refusal = self._open_segmenter(chosen), ""
            try:
                self._enter("reopening", f"the schedule changes to {policy.name}")
                self._end_pipeline()
                # Pipeline and segmenter refer to themselves in circles. Now no frame waits for the collector.
                gc.collect()
                try:
                    source = self._open_source(chosen)
                except OptionError as exc:
                    # The source is there, but without what the policy needs, such as motion of the codec.
                    refusal, chosen = str(exc), self.policy
                    segmenter.close()
                    segmenter = self._open_segmenter(chosen)
                    source = self._open_source(chosen)
                self._start(segmenter, source, chosen)
            except BaseException as exc:
                segmenter.close()
                self._enter("failed", f"the source could not be opened again: {exc}")
                raise
            self.recorder.forget_recent()
            self._enter("running", "")
            if refusal:
                raise OptionError(f"{refusal}; the old schedule goes on")
        finally:
            self._changing.release()

    def newest(self) -> Seen:
        """The newest result and its frame, if it is young enough.

        Raises:
            PipelineError: If there is none, or it is too old; the message says why.
        """
        pipeline = self._stand.pipeline
        if pipeline is None:
            raise PipelineError(self._reason or "the server stops")
        pipeline.latest()
        seen = self.recorder.newest  # at least as new as that result: it is recorded before it is posted
        if seen is None:
            raise PipelineError("there is no result yet")
        return seen

    @property
    def phase(self) -> Phase:
        """Whether there is a pipeline."""
        return self._phase

    @property
    def health(self) -> Health:
        """As :attr:`Pipeline.health <edge_vseg.pipeline.Pipeline.health>`; ``stale`` while it is reopened."""
        stand, phase, seen = self._stand, self._phase, self.recorder.newest
        if phase == "running" and stand.pipeline is not None:
            health = stand.pipeline.health
            return replace(
                health,
                restarts=health.restarts + stand.restarts,
                reconnects=health.reconnects + stand.reconnects,
            )
        return Health(
            state="failed" if phase == "failed" else "stale",
            reason=self._reason or "the server stops",
            since_ns=self._phase_since_ns,
            age_ms=float("inf") if seen is None else (time.monotonic_ns() - seen.result.labels_ns) / 1e6,
            restarts=stand.restarts + (stand.pipeline.health.restarts if stand.pipeline else 0),
            reconnects=stand.reconnects + (stand.pipeline.health.reconnects if stand.pipeline else 0),
        )

    @property
    def counts(self) -> PipelineCounts:
        """Where the frames went, of all pipelines since the server was started."""
        stand = self._stand
        return _sum(stand.counts, stand.pipeline.counts) if stand.pipeline is not None else stand.counts

    def __repr__(self) -> str:
        return f"{self.source_name} by {self.variant} of {self.bundle_name}"

    def close(self) -> None:
        """End the pipeline; waits for a change that is under way."""
        with self._changing:
            self._end_pipeline()

    def _start(self, segmenter: ObservedSegmenter, source: Source, policy: Policy | None) -> None:
        self.policy = policy
        self.source_name = source.name
        self.variant, self.provider = segmenter.variant.id, segmenter.provider
        open_again: Callable[[], Segmenter] = functools.partial(self._open_segmenter, policy)
        pipeline = Pipeline(open_again, source, policy=policy, options=self._workplace.options, first=segmenter)
        self._stand = replace(self._stand, pipeline=pipeline)

    def _open_segmenter(self, policy: Policy | None) -> ObservedSegmenter:
        opener = functools.partial(self._workplace.open_segmenter, policy)
        # An update may have put another bundle in its place, and labels, head and name are those of the first one.
        segmenter = opener() if self._bundle is None else open_same_bundle(opener, self._bundle)
        segmenter.recorder = self.recorder
        return segmenter

    def _open_source(self, policy: Policy | None) -> Source:
        for left in range(OPEN_TRIES - 1, -1, -1):
            try:
                return self._workplace.open_source(policy)
            except OptionError:  # does not pass by itself
                raise
            except EdgeVsegError as exc:
                if not left:
                    raise
                log.warning("the source cannot be opened yet: %s", exc)
                time.sleep(OPEN_PAUSE_S)
        raise AssertionError("unreachable")

    def _end_pipeline(self) -> None:
        stand = self._stand
        if stand.pipeline is None:
            return
        stand.pipeline.close()
        health = stand.pipeline.health
        self._stand = _Stand(
            counts=self.counts,
            restarts=stand.restarts + health.restarts,
            reconnects=stand.reconnects + health.reconnects,
        )

    def _enter(self, phase: Phase, reason: str) -> None:
        self._phase, self._reason, self._phase_since_ns = phase, reason, time.monotonic_ns()


def _sum(one: PipelineCounts, other: PipelineCounts) -> PipelineCounts:
    return PipelineCounts(
        captured=one.captured + other.captured,
        delivered=one.delivered + other.delivered,
        dropped=one.dropped + other.dropped,
        failed=one.failed + other.failed,
        in_flight=one.in_flight + other.in_flight,
    )
