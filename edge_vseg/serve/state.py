"""What the page shows beside the picture, as plain values for JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edge_vseg.pipeline import Health
from edge_vseg.scheduling.quantiles import percentiles
from edge_vseg.serve.live import LivePipeline
from edge_vseg.serve.machine_meter import MachineReading
from edge_vseg.serve.recorder import Moment
from edge_vseg.serve.schedule import describe_policies, describe_schedule

TIMELINE_MS = 1500.0
STATE_YOUNG_S = 0.2
"""A state that is so young is given to the next page, too."""
MAX_SHOWN = 150
"""Frames of a timeline; nobody can tell more apart."""


def describe_health(health: Health, now_ns: int) -> dict[str, Any]:
    """State, reason and ages; ``age_ms`` is ``None`` before the first result."""
    return {
        "state": health.state,
        "reason": health.reason,
        "since_s": round(max(0.0, (now_ns - health.since_ns) / 1e9), 1),
        "age_ms": round(health.age_ms, 1) if math.isfinite(health.age_ms) else None,
        "missed_share": health.missed_share,
        "failed_share": health.failed_share,
        "restarts": health.restarts,
        "reconnects": health.reconnects,
        "throttled": list(health.throttled),
    }


def describe_state(live: LivePipeline, machine: MachineReading) -> dict[str, Any]:
    """All that changes while the server runs."""
    now_ns, moments = time.monotonic_ns(), live.recorder.recent()
    return {
        "phase": live.phase,
        "health": describe_health(live.health, now_ns),
        "counts": asdict(live.counts),
        "schedule": describe_schedule(live.policy),
        "latency": describe_latency(moments),
        "machine": {
            "cpu_share": round(machine.cpu_share, 3),
            "temperature_c": dict(machine.temperature_c),
            "hottest": machine.hottest,
            "clock_mhz": machine.clock_mhz,
        },
        "timeline": describe_timeline(moments, now_ns),
    }


def describe_latency(moments: Sequence[Moment]) -> dict[str, Any] | None:
    """Percentiles of the last results in ms, their rate, and the share of time that the background lane worked."""
    if not moments:
        return None
    totals = [moment.total_ms for moment in moments]
    p50, p90, p99 = percentiles(totals, 50, 90, 99)
    elapsed_ns = moments[-1].done_ns - moments[0].done_ns
    # Spans of the first result lie before the time that is counted.
    background_ns = sum(span.end_ns - span.start_ns for moment in moments[1:] for span in moment.background)
    return {
        "frames": len(moments),
        "p50": round(p50, 2),
        "p90": round(p90, 2),
        "p99": round(p99, 2),
        "max": round(max(totals), 2),
        "missed": sum(moment.missed for moment in moments),
        "fps": round((len(moments) - 1) * 1e9 / elapsed_ns, 1) if elapsed_ns > 0 else None,
        "background_share": round(min(1.0, background_ns / elapsed_ns), 3) if elapsed_ns > 0 else None,
    }


def describe_timeline(moments: Sequence[Moment], now_ns: int) -> dict[str, Any]:
    """Both lanes over the last :data:`TIMELINE_MS`; times in ms from now, so all are negative."""
    from_ns = now_ns - TIMELINE_MS * 1e6
    shown = [moment for moment in moments[-MAX_SHOWN:] if moment.done_ns >= from_ns]

    def at(time_ns: float) -> float:
        return round((time_ns - now_ns) / 1e6, 2)

    frames = []
    for moment in shown:
        begin_ns = moment.done_ns - moment.total_ms * 1e6
        steps = [[str(name), round(ms, 2)] for name, ms in moment.latency_ms.items() if name != "total"]
        due = None if moment.deadline_ms is None else at(begin_ns + moment.deadline_ms * 1e6)
        frames.append(
            {
                "begin": at(begin_ns),
                "end": at(moment.done_ns),
                "due": due,
                "missed": moment.missed,
                "source": moment.source,
                "steps": steps,
            }
        )
    spans = [span for moment in moments[-MAX_SHOWN:] for span in moment.background if span.end_ns >= from_ns]
    background = [[span.step, at(span.start_ns), at(span.end_ns)] for span in spans]
    return {"span": TIMELINE_MS, "frames": frames, "background": background}


def describe_server(live: LivePipeline, views: Sequence[str], *, changes: str) -> dict[str, Any]:
    """All that stays while the server runs: the page asks for it once."""
    from edge_vseg import __version__

    return {
        "version": __version__,
        "source": live.source_name,
        "bundle": live.bundle_name,
        "variant": live.variant,
        "provider": live.provider,
        "labels": [{"id": label.id, "name": label.name, "color": list(label.color)} for label in live.labels],
        "views": list(views),
        "policies": describe_policies(),
        "changes": changes,
    }
