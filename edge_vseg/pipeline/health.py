"""How a pipeline is: one of four states, why, and since when; a pure function of what was observed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError
from edge_vseg.video import Connection

HealthState: TypeAlias = Literal["ok", "degraded", "stale", "failed"]
WORST_FIRST: tuple[HealthState, ...] = ("failed", "stale", "degraded", "ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """From when on a pipeline is degraded, and how soon it is well again.

    Attributes:
        window_frames: Shares are taken over so many of the last frames.
        min_frames: With fewer frames than this, no share is judged.
        max_missed: Share of frames, 0 to 1, over their deadline (foreseen or not) above which it is degraded; it is
            well again below half of that. The same holds for the other two shares.
        max_failed: Share of frames that could not be segmented.
        max_coarse: Share of frames for whose motion there was time for a coarser estimator only.
        recover_s: So long everything must be well before the state is ``ok`` again.
    """

    window_frames: int = 100
    min_frames: int = 10
    max_missed: float = 0.05
    max_failed: float = 0.02
    max_coarse: float = 0.5
    recover_s: float = 2.0

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range."""
        if not 1 <= self.min_frames <= self.window_frames:
            raise OptionError(
                f"min_frames must be from 1 to window_frames ({self.window_frames}), got {self.min_frames}"
            )
        for name in ("max_missed", "max_failed", "max_coarse"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")
        if not self.recover_s >= 0:
            raise OptionError(f"recover_s must not be negative, got {self.recover_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFrames:
    """What became of the last frames.

    Attributes:
        frames: How many there are; at most the window.
        missed: Those over their deadline.
        failed: Those that could not be segmented.
        coarse: Those with a coarser motion estimator than the policy's.
    """

    frames: int = 0
    missed: int = 0
    failed: int = 0
    coarse: int = 0

    def share(self, count: int) -> float:
        """A count as a share of the frames, 0 to 1."""
        return count / self.frames if self.frames else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthObservation:
    """All that the state of a pipeline follows from.

    Attributes:
        now_ns: Now, ``time.monotonic_ns()``, as all times here.
        opened_ns: When the pipeline was opened.
        source: Name of the source.
        connection: Of the source.
        age_ms: Milliseconds since the capture of what the newest labels show; infinite before the first result.
        limit_ms: How old its frame may be.
        expired_ns: When the newest result became too old, or will; ``None`` before the first.
        recent: The last frames.
        throttled: Why the machine slows down; empty if it does not, or does not tell.
        restarts: How often the worker was restarted so far.
        trouble: Why there is no worker now, or what it hangs in; empty while it works.
        ended_ns: When the source ended; ``None`` while it has not.
        failure: Why the pipeline gave up; empty while it has not.
        failed_ns: When it gave up.
    """

    now_ns: int
    opened_ns: int
    source: str
    connection: Connection
    age_ms: float
    limit_ms: float
    expired_ns: float | None
    recent: RecentFrames = RecentFrames()
    throttled: tuple[str, ...] = ()
    restarts: int = 0
    trouble: str = ""
    ended_ns: int | None = None
    failure: str = ""
    failed_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a pipeline is.

    Attributes:
        state: ``ok``; ``degraded``: results come, but late, coarse, with failures, or from a machine that throttles;
            ``stale``: the newest result is too old, or there is none yet; ``failed``: it gave up, for good.
        reason: Why, in words; empty if ``ok``.
        since_ns: Since when it is in this state, ``time.monotonic_ns()``.
        age_ms: Milliseconds since the capture of what the newest labels show; infinite before the first result.
        missed_share: Share of the last frames over their deadline, 0 to 1.
        failed_share: Share of the last frames that could not be segmented, 0 to 1.
        coarse_share: Share of the last frames with a coarser motion estimator than the policy's, 0 to 1.
        throttled: Why the machine slows down, if ``/sys`` tells.
        restarts: How often the worker was restarted.
        reconnects: How often the source came back.
        source_away_ns: Since when the source is away and tried again; ``None`` while it is there.
    """

    state: HealthState
    reason: str
    since_ns: int
    age_ms: float
    missed_share: float = 0.0
    failed_share: float = 0.0
    coarse_share: float = 0.0
    throttled: tuple[str, ...] = ()
    restarts: int = 0
    reconnects: int = 0
    source_away_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTrack:
    """Health with the memory that hysteresis needs.

    Attributes:
        health: The health.
        degraded: Reasons that hold until their share falls below half of its limit.
        good_ns: Since when everything has been well again; ``None`` if it is not, or was never otherwise.
    """

    health: Health
    degraded: frozenset[str] = frozenset()
    good_ns: int | None = None


def advance(before: HealthTrack | None, seen: HealthObservation, limits: HealthLimits) -> HealthTrack:
    """The health after an observation.

    Worse states are taken at once. After ``stale`` or ``degraded`` the pipeline is ``degraded`` until everything has
    been well for ``recover_s``; only the first result after opening makes it ``ok`` directly.
    """
    reasons = _degraded(before.degraded if before else frozenset(), seen, limits)
    expired_ns = seen.expired_ns
    if expired_ns == math.inf and seen.ended_ns is not None:  # what never gets old by itself does once nothing follows
        expired_ns = seen.ended_ns
    state: HealthState = "ok"
    reason, since_ns, good_ns = "", seen.now_ns, None
    if seen.failure:
        state, reason, since_ns = "failed", seen.failure, seen.failed_ns
    elif expired_ns is None or expired_ns < seen.now_ns:
        state, reason = "stale", stale_reason(seen)
        since_ns = seen.opened_ns if expired_ns is None else int(expired_ns)
    elif reasons:
        state, reason = "degraded", "; ".join(reasons.values())
    elif before is not None and before.health.state != "ok" and before.health.age_ms != float("inf"):
        good_ns = seen.now_ns if before.good_ns is None else before.good_ns
        if seen.now_ns - good_ns < limits.recover_s * 1e9:
            state, reason = "degraded", f"well again for {(seen.now_ns - good_ns) / 1e9:.1f} s"
    if before is not None and before.health.state == state:
        since_ns = before.health.since_ns
    recent = seen.recent
    health = Health(
        state=state,
        reason=reason,
        since_ns=since_ns,
        age_ms=seen.age_ms,
        missed_share=recent.share(recent.missed),
        failed_share=recent.share(recent.failed),
        coarse_share=recent.share(recent.coarse),
        throttled=seen.throttled,
        restarts=seen.restarts,
        reconnects=seen.connection.reconnects,
        source_away_ns=seen.connection.since_ns if seen.connection.state == "reconnecting" else None,
    )
    return HealthTrack(health=health, degraded=frozenset(reasons), good_ns=good_ns)


def stale_reason(seen: HealthObservation) -> str:
    """Why the newest result is too old, in words."""
    return cause_of_delay(seen) or f"the newest result of {seen.source} is {seen.age_ms:.0f} ms old"


def cause_of_delay(seen: HealthObservation) -> str:
    """Why there is no newer result, in words; empty if nothing is known but its age."""
    if seen.ended_ns is not None:
        return f"{seen.source} has ended"
    if seen.trouble:
        return seen.trouble
    connection = seen.connection
    if connection.state == "reconnecting":
        because = f": {connection.reason}" if connection.reason else ""
        return f"reconnecting to {seen.source} since {(seen.now_ns - connection.since_ns) / 1e9:.1f} s{because}"
    if seen.expired_ns is None:
        return f"no result of {seen.source} yet, {(seen.now_ns - seen.opened_ns) / 1e9:.1f} s after opening"
    return ""


def _degraded(before: frozenset[str], seen: HealthObservation, limits: HealthLimits) -> dict[str, str]:
    """Reasons to call it degraded, by kind."""
    recent = seen.recent
    shares = {
        "missed": (recent.missed, limits.max_missed, "missed their deadline"),
        "failed": (recent.failed, limits.max_failed, "could not be segmented"),
        "coarse": (recent.coarse, limits.max_coarse, "had time for coarse motion only"),
    }
    reasons = {}
    for kind, (count, highest, words) in shares.items():
        share, allowed = recent.share(count), highest / 2 if kind in before else highest
        if recent.frames >= limits.min_frames and share > allowed:
            reasons[kind] = f"{share:.0%} of the last {recent.frames} frames {words}"
    if seen.throttled:
        reasons["throttled"] = f"the machine slows down: {', '.join(seen.throttled)}"
    return reasons
