"""The port that every policy implements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from edge_vseg.decision import Decision
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation

MAX_AGE_MS = 2000.0
MAX_AGE_NETWORK_TIMES = 6.0
MAX_AGE_POLICY_TIMES = 1.5
"""The maximum age of maps where none is given: :data:`MAX_AGE_MS`; where the network is slow, so many of its durations;
where the video is slow, so many times the frames after which the policy makes every tile anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """What holds on every frame, whatever is decided.

    Attributes:
        deadline_ms: Milliseconds from the call to the label map; ``None`` for no deadline.
        cpu_share: Share of the machine's cores that both lanes may use together, 0 to 1.
        max_age_ms: Maps from images captured longer ago are forgotten, unless nothing has moved since: the frame is
            then inferred, whatever it takes. ``None`` for :data:`MAX_AGE_MS` or a few times the network's duration.
    """

    deadline_ms: float | None = None
    cpu_share: float = 1.0
    max_age_ms: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range."""
        if not 0 < self.cpu_share <= 1:
            raise OptionError(f"cpu_share must be in (0, 1], got {self.cpu_share}; 0.5 is half of the machine")
        if self.max_age_ms is not None and not (self.max_age_ms > 0 and math.isfinite(self.max_age_ms * 1e6)):
            raise OptionError(
                f"max_age_ms must be positive and finite, got {self.max_age_ms}; leave it out for the default"
            )
        if self.deadline_ms is not None and not self.deadline_ms > 0:
            raise OptionError(f"a deadline must be positive, in milliseconds, got {self.deadline_ms}")

    def oldest_ms(self, network_ms: float, policy_ms: float = 0.0) -> float:
        """The maximum age of maps in ms.

        Args:
            network_ms: What the network takes.
            policy_ms: After which the policy makes every part anew by itself; 0 if it does not.
        """
        if self.max_age_ms is not None:
            return self.max_age_ms
        return max(MAX_AGE_MS, MAX_AGE_NETWORK_TIMES * network_ms, MAX_AGE_POLICY_TIMES * policy_ms)


DEFAULT_LIMITS = FrameLimits()


def renewal_ms(policy: Policy, period_ms: float) -> float:
    """Milliseconds after which a policy has made every tile anew, with frames so far apart; 0 if it infers no tiles."""
    return period_ms * getattr(policy, "max_age_frames", 0) if policy.needs == "tiles" else 0.0


def limits_of(policy: Policy) -> FrameLimits:
    """The limits that a policy has in an attribute ``limits``, or the default ones.

    Raises:
        OptionError: If that attribute is something else.
    """
    limits = getattr(policy, "limits", DEFAULT_LIMITS)
    if not isinstance(limits, FrameLimits):
        raise OptionError(f"limits of policy {policy.name!r} must be FrameLimits, got {limits!r}")
    return limits


def consults(policy: Policy) -> bool:
    """Whether a policy has a use for a companion: it then has an attribute ``consults`` that is true."""
    return bool(getattr(policy, "consults", False))


class Policy(Protocol):
    """Decides what to do for each frame. A pure function of its arguments: no clock, no state of its own.

    Attributes:
        name: Name on the command line.
        motion: Motion estimator, one of :data:`edge_vseg.motion.ESTIMATORS` or ``codec``; empty for none.
        needs: What the variant must have: ``""`` nothing, ``"slices"``, ``"context"``, ``"tiles"``; ``"any"`` uses
            whatever there is.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def motion(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def decide(self, situation: Situation, costs: Costs, /) -> Decision:
        """Decide what to do for this frame."""
        ...
