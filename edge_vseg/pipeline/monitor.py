"""Watches the results of a pipeline: its pace, its last frames, and the heat of the machine."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from edge_vseg.motion import ESTIMATORS
from edge_vseg.pipeline.freshness import AgeLimits, PaceMeter
from edge_vseg.pipeline.health import HealthLimits, HealthObservation, HealthTrack, RecentFrames, advance
from edge_vseg.scheduling.policies import Policy
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Result


@dataclass(frozen=True, slots=True)
class _Outcome:
    missed: bool = False
    failed: bool = False
    coarse: bool = False


class PipelineMonitor:
    """What health and the default age are judged by; used from all threads.

    Attributes:
        throttled: Why the machine slows down, as last read.

    Args:
        fps: Frames per second of the source; ``None`` if unknown.
        policy: What schedules the frames.
        limits: When the pipeline is degraded.
        max_age_ms: How old results may be; ``None`` to learn it.
    """

    def __init__(
        self, fps: float | None, policy: Policy | None, limits: HealthLimits, max_age_ms: float | None
    ) -> None:
        self.throttled: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._pace = PaceMeter(fps, policy)
        self._finest = policy.motion if policy is not None else ""
        self._limits = limits
        self._given = None if max_age_ms is None else AgeLimits.both(max_age_ms)
        self._learned = self._pace.limits
        self._recent: deque[_Outcome] = deque(maxlen=limits.window_frames)
        self._track: HealthTrack | None = None

    @property
    def age_limits(self) -> AgeLimits:
        """How old a result may be where the caller does not say."""
        return self._given or self._learned

    def add(self, result: Result, segmenter: Segmenter) -> None:
        """Learn from a result."""
        outcome = _Outcome(missed=result.deadline_missed or result.over_budget, coarse=self._is_coarse(result))
        with self._lock:
            self._pace.add(result, segmenter.network_pace)
            self._learned = self._pace.limits
            self._recent.append(outcome)

    def add_failure(self) -> None:
        """A frame could not be segmented."""
        with self._lock:
            self._recent.append(_Outcome(failed=True))

    def recent(self) -> RecentFrames:
        """The last frames."""
        with self._lock:
            outcomes = list(self._recent)
        return RecentFrames(
            frames=len(outcomes),
            missed=sum(each.missed for each in outcomes),
            failed=sum(each.failed for each in outcomes),
            coarse=sum(each.coarse for each in outcomes),
        )

    def judge(self, seen: HealthObservation) -> HealthTrack:
        """The health after an observation."""
        with self._lock:
            self._track = advance(self._track, seen, self._limits)
            return self._track

    def _is_coarse(self, result: Result) -> bool:
        """Whether the policy had to ask for a coarser estimator than its own for the next frame."""
        chosen = result.decision.next_motion
        return bool(chosen) and chosen != self._finest and self._finest in ESTIMATORS
