"""What the supervisor of a process is told about its cameras: a pure function of their health."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_vseg.machine.systemd import Pulse, ServiceSign
from edge_vseg.pipeline.health import Health

PATIENCE_S = 300.0
"""A camera that is away is not cured by a new process; one whose driver hangs is. After so long, it is tried."""


def service_sign(healths: Sequence[Health], now_ns: int, patience_s: float = PATIENCE_S) -> ServiceSign:
    """How a service with these cameras is.

    It is ``alive`` while each camera gives fresh labels, or has been away for less than ``patience_s`` and is tried
    again; while others work, a camera may be away for any time, since a restart would stop them, too. A camera whose
    labels are too old for another reason makes it ``silent``. It has ``failed`` if no camera can come back in this
    process; while others still work, it is ``silent``.

    Args:
        healths: Of each camera, one or more.
        now_ns: Now, ``time.monotonic_ns()``.
        patience_s: How long a camera may be away.
    """
    working = any(health.state in ("ok", "degraded") for health in healths)
    pulses = [_pulse(health, now_ns, math.inf if working else patience_s) for health in healths]
    seen = any(math.isfinite(health.age_ms) for health in healths)
    pulse: Pulse = "alive" if all(each == "alive" for each in pulses) else "silent"
    if all(health.state == "failed" for health in healths):
        pulse = "failed"
    elif not seen:
        pulse = "starting"
    return ServiceSign(pulse=pulse, status=_status(healths))


def _pulse(health: Health, now_ns: int, patience_s: float) -> Pulse:
    if health.state in ("ok", "degraded"):
        return "alive"
    if health.state == "failed" or health.source_away_ns is None:
        return "silent"
    return "alive" if now_ns - health.source_away_ns < patience_s * 1e9 else "silent"


def _status(healths: Sequence[Health]) -> str:
    if len(healths) == 1:
        return _describe(healths[0])
    well = sum(health.state == "ok" for health in healths)
    others = [_describe(health) for health in healths if health.state != "ok"]
    return "; ".join([f"{well} of {len(healths)} cameras ok", *others])


def _describe(health: Health) -> str:
    if health.state == "ok":
        return f"ok, labels {health.age_ms:.0f} ms old"
    return f"{health.state}: {health.reason}"
