"""How long a graph may take when it is opened again."""

from __future__ import annotations

import math
import time

import pytest

from edge_vseg.scheduling.first_runs import PATIENCE, FirstRuns, first_runs_of


def test_new_graphs_have_all_the_time() -> None:
    made = FirstRuns()
    with made.timed("open 0"):
        pass
    assert made.patience_s("open 0") < math.inf
    assert made.patience_s("open 0", "open 1") == made.patience_s("run 0") == math.inf
    assert made.patience_s() == 0


def test_the_longest_counts() -> None:
    made = FirstRuns()
    for wait_s in (0.0, 0.02, 0.0):
        with made.timed("run 0"):
            time.sleep(wait_s)
    assert made.patience_s("run 0") >= PATIENCE * 0.02
    assert made.patience_s("run 0", "run 0") == 2 * made.patience_s("run 0")


def test_what_failed_tells_nothing() -> None:
    made = FirstRuns()
    with pytest.raises(OSError, match="gone"), made.timed("run 0"):
        raise OSError("gone")
    assert made.patience_s("run 0") == math.inf


def test_a_network_is_known_for_as_long_as_the_process() -> None:
    with first_runs_of("a test of first runs").timed("run 0"):
        pass
    assert first_runs_of("a test of first runs").patience_s("run 0") < math.inf
    assert first_runs_of("another of them").patience_s("run 0") == math.inf
