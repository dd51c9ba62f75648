"""A few hundred cases of the campaign, and that it counts what it is there to count."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from bundle_cases import GRAPH_KINDS, SAFE_KINDS, prepare
from planted_cases import prepare_planted
from workers import OUTCOMES, Limits, run_cases

CASES = 160


def test_mutated_bundles_are_refused_or_right(tmp_path: Path) -> None:
    only = functools.partial(prepare, kinds=tuple(SAFE_KINDS))
    tally = run_cases(only, tmp_path / "cases", 2, range(CASES), Limits(seconds=60))
    assert tally.bad == []
    found = {outcome for _, outcome in tally.counts}
    assert found == {"refused", "right"}
    assert {kind for kind, _ in tally.counts} == set(SAFE_KINDS)


@pytest.mark.parametrize(("kinds", "cases"), [(tuple(GRAPH_KINDS), 8), (("deadly",), 2)])
def test_graphs_with_the_right_hash_kill_and_block_nothing(
    kinds: tuple[str, ...], cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_VSEG_PROBE", "first:5")
    only = functools.partial(prepare, kinds=kinds)
    tally = run_cases(only, tmp_path / "cases", 3, range(cases), Limits(seconds=120))
    assert tally.bad == []
    assert {outcome for _, outcome in tally.counts} <= {"refused", "right", "other"}
    assert any(outcome == "refused" for _, outcome in tally.counts)


def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    tally = run_cases(prepare_planted, tmp_path / "cases", 1, range(len(OUTCOMES) + 2), Limits(seconds=1))
    assert [verdict.outcome for _, verdict in tally.bad] == ["wrong", "uncaught", "died", "hung"]
    assert tally.counts["planted", "refused"] == tally.counts["planted", "right"] == 2
    assert tally.table().splitlines()[-1].split() == ["all", "9", "2", "2", "1", "1", "1", "1", "1"]
