"""Collects what the health of a pipeline is judged by."""

from __future__ import annotations

import time

from edge_vseg.errors import PipelineEndedError, PipelineTimeoutError, StaleError
from edge_vseg.pipeline.board import Posted, ResultBoard
from edge_vseg.pipeline.freshness import AgeLimits, age_ms, describe_age
from edge_vseg.pipeline.health import Health, HealthObservation, cause_of_delay, stale_reason
from edge_vseg.pipeline.intake import FrameIntake
from edge_vseg.pipeline.monitor import PipelineMonitor
from edge_vseg.pipeline.supervisor import Supervisor


class HealthWatch:
    """Looks at the parts of a pipeline and says how it is; used from all threads.

    Attributes:
        closed_ns: When the pipeline was closed, ``time.monotonic_ns()``; ``None`` while it is open.
    """

    def __init__(
        self, intake: FrameIntake, board: ResultBoard, monitor: PipelineMonitor, supervisor: Supervisor
    ) -> None:
        self.closed_ns: int | None = None
        self._opened_ns = time.monotonic_ns()
        self._intake = intake
        self._board = board
        self._monitor = monitor
        self._supervisor = supervisor

    @property
    def health(self) -> Health:
        """How the pipeline is."""
        return self._monitor.judge(self._observe(self._monitor.age_limits)).health

    def timeout(self, timeout_ms: float | None) -> PipelineTimeoutError:
        """Of a caller who waited so long, with the reason."""
        reason = stale_reason(self._observe(self._monitor.age_limits))
        return PipelineTimeoutError(f"no newer result within {timeout_ms:g} ms: {reason}")

    def stale(self, posted: Posted | None, limits: AgeLimits) -> StaleError:
        """Of a caller for whom the newest result is too old, with the reason."""
        seen = self._observe(limits)
        cause = cause_of_delay(seen)
        if posted is None:
            return StaleError(cause, age_ms=seen.age_ms)
        age = f"{describe_age(posted.result, seen.now_ns)}, and {limits} allowed"
        return StaleError(f"{age}: {cause}" if cause else age, age_ms=seen.age_ms)

    def _observe(self, limits: AgeLimits) -> HealthObservation:
        now_ns, posted, end = time.monotonic_ns(), self._board.newest, self._board.ended_by
        connection, supervisor = self._intake.source.connection, self._supervisor
        expired_ns = None if posted is None else limits.expired_ns(posted.result)
        if self.closed_ns is not None:
            expired_ns = self.closed_ns - 1
        return HealthObservation(
            now_ns=now_ns,
            opened_ns=self._opened_ns,
            source=self._intake.source.name,
            connection=connection,
            age_ms=float("inf") if posted is None else age_ms(posted.result, now_ns),
            limit_ms=limits.frame_ms,
            expired_ns=expired_ns,
            recent=self._monitor.recent(),
            throttled=self._monitor.throttled,
            restarts=supervisor.restarts,
            trouble=supervisor.trouble if self.closed_ns is None else "the pipeline is closed",
            ended_ns=connection.since_ns if isinstance(end, PipelineEndedError) else None,
            failure=str(end) if supervisor.failed_ns else "",
            failed_ns=supervisor.failed_ns,
        )
