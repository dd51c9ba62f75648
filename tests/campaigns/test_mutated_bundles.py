"""A few hundred cases of the campaign, and that it counts what it is there to count."""

from __future__ import annotations

import functools
from pathlib import Path

from bundle_cases import SAFE_KINDS, prepare
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


def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    tally = run_cases(prepare_planted, tmp_path / "cases", 1, range(len(OUTCOMES) + 2), Limits(seconds=1))
    assert [verdict.outcome for _, verdict in tally.bad] == ["wrong", "uncaught", "died", "hung"]
    assert tally.counts["planted", "refused"] == tally.counts["planted", "right"] == 2
    assert tally.table().splitlines()[-1].split() == ["all", "9", "2", "2", "1", "1", "1", "1", "1"]
