"""A few dozen damaged videos of each format that is quick to write."""

from __future__ import annotations

import functools
from pathlib import Path

from video_cases import FORMATS, prepare
from workers import Limits, run_cases

CASES = 100
QUICK = tuple(made.name for made in FORMATS if made.name not in ("8k", "hevc-mp4", "vp9-alpha"))


def test_damaged_videos_are_refused_or_true(tmp_path: Path) -> None:
    quick = functools.partial(prepare, formats=QUICK)
    tally = run_cases(quick, tmp_path / "cases", 2, range(CASES), Limits(seconds=60))
    assert tally.bad == []
    assert {outcome for _, outcome in tally.counts} == {"refused", "right"}
