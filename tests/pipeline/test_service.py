"""When the supervisor of a process hears of it: the rule, as a table."""

from __future__ import annotations

import math

import pytest

from edge_vseg.pipeline import Health
from edge_vseg.pipeline.health import HealthLimits, HealthObservation, RecentFrames, advance
from edge_vseg.pipeline.service import PATIENCE_S, service_sign
from edge_vseg.video import Connection

S = 1_000_000_000
NOW = 10_000 * S
WELL = Health(state="ok", reason="", since_ns=0, age_ms=20.0)
LATE = Health(state="degraded", reason="late", since_ns=0, age_ms=20.0)
HUNG = Health(state="stale", reason="the segmenter hangs", since_ns=0, age_ms=9000.0)
NEW = Health(state="stale", reason="no result yet", since_ns=0, age_ms=math.inf)
GONE = Health(state="failed", reason="gave up", since_ns=0, age_ms=9000.0)


def away(seconds: float, age_ms: float = 9000.0) -> Health:
    since_ns = NOW - round(seconds * S)
    return Health(state="stale", reason="reconnecting", since_ns=0, age_ms=age_ms, source_away_ns=since_ns)


@pytest.mark.parametrize(
    ("healths", "pulse"),
    [
        ([WELL], "alive"),
        ([LATE], "alive"),
        ([HUNG], "silent"),
        ([GONE], "failed"),
        ([NEW], "starting"),
        ([away(PATIENCE_S - 1)], "alive"),
        ([away(PATIENCE_S + 1)], "silent"),
        ([away(1, math.inf)], "starting"),
        ([away(PATIENCE_S + 1, math.inf)], "starting"),
        ([WELL, away(10)], "alive"),
        ([WELL, away(PATIENCE_S + 1)], "alive"),  # a restart would stop the one that works
        ([away(PATIENCE_S + 1), away(PATIENCE_S + 1)], "silent"),
        ([WELL, HUNG], "silent"),
        ([WELL, GONE], "silent"),
        ([GONE, GONE], "failed"),
        ([WELL, NEW], "silent"),
        ([WELL, away(10, math.inf)], "alive"),
        ([NEW, GONE], "silent"),
    ],
    ids=lambda value: " + ".join(f"{h.state} {h.reason}" for h in value) if isinstance(value, list) else value,
)
def test_the_pulse(healths: list[Health], pulse: str) -> None:
    assert service_sign(healths, NOW).pulse == pulse


def test_patience_is_an_argument() -> None:
    assert service_sign([away(20)], NOW, patience_s=30).pulse == "alive"
    assert service_sign([away(20)], NOW, patience_s=10).pulse == "silent"


def test_the_status_is_for_people() -> None:
    assert service_sign([WELL], NOW).status == "ok, labels 20 ms old"
    assert service_sign([HUNG], NOW).status == "stale: the segmenter hangs"
    assert service_sign([WELL, HUNG, GONE], NOW).status == (
        "1 of 3 cameras ok; stale: the segmenter hangs; failed: gave up"
    )


@pytest.mark.parametrize("state", ["connected", "reconnecting", "ended"])
def test_health_tells_since_when_a_source_is_away(state: str) -> None:
    observation = HealthObservation(
        now_ns=NOW,
        opened_ns=0,
        source="cam",
        connection=Connection(state=state, since_ns=NOW - 7 * S),  # type: ignore[arg-type]
        age_ms=9000.0,
        limit_ms=100.0,
        expired_ns=NOW - S,
        recent=RecentFrames(),
    )
    health = advance(None, observation, HealthLimits()).health
    assert health.source_away_ns == (NOW - 7 * S if state == "reconnecting" else None)
