"""Limits without an end: taken where they mean "for ever", refused by name where they mean nothing."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from live_feed import LONG_MS, PATIENCE_S, eventually

from edge_vseg import Deadline, PipelineOptions
from edge_vseg.cli.options import read_policy
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.policies import FrameLimits


@pytest.mark.parametrize("max_age_ms", [math.inf, math.nan, 1e305, 0.0])
def test_maps_have_an_age_at_which_they_are_forgotten(max_age_ms):
    for make in (
        lambda: Deadline(milliseconds=15.0, max_age_ms=max_age_ms),
        lambda: FrameLimits(max_age_ms=max_age_ms),
        lambda: read_policy("", [], 15.0, None, max_age_ms),
    ):
        with pytest.raises(OptionError, match="max_age_ms must be positive and finite"):
            make()


@pytest.mark.parametrize("close_s", [math.inf, 1e10])
def test_closing_ends(close_s):
    with pytest.raises(OptionError, match="close_s must be finite"):
        PipelineOptions(close_s=close_s)


@pytest.mark.parametrize("timeout_ms", [math.inf, 1e13])
def test_who_waits_for_ever_has_the_next_result(timeout_ms, start, feed):
    pipeline = start(max_age_ms=LONG_MS)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pipeline.wait, -1, timeout_ms=timeout_ms)
        eventually(lambda: waiting.done() or pipeline._board._changed._waiters)
        seq = feed.put()
        assert waiting.result(PATIENCE_S).seq == seq


def test_what_never_hangs_and_never_gets_too_old(start, feed):
    pipeline = start(hang_s=math.inf, open_s=math.inf, restart_window_s=math.inf, max_age_ms=math.inf)
    seq = feed.put(age_ms=30_000)
    assert pipeline.wait(-1, timeout_ms=LONG_MS).seq == seq
    assert pipeline.latest(max_age_ms=math.inf).seq == seq
    assert pipeline.health.state == "ok"
    pipeline.close()
