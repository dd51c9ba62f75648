"""Calibration and validation frames are apart in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.calibration.frames.split import split_roles


@st.composite
def situations(draw):
    """Candidates of some sources, as few as are needed or many more."""
    lengths = draw(st.lists(st.integers(1, 120), min_size=1, max_size=4))
    sources, seqs = [], []
    for source, length in enumerate(lengths):
        gaps = draw(st.lists(st.integers(1, 4), min_size=length, max_size=length))
        sources += [source] * length
        seqs += np.cumsum(gaps).tolist()
    total = len(seqs)
    if total < 2:
        sources, seqs, total = [0, 0], [1, 2], 2
    calibration = draw(st.integers(1, total - 1))
    validation = draw(st.integers(1, total - calibration))
    return sources, seqs, calibration, validation, draw(st.integers(0, 9))


@given(situations())
def test_both_sets_are_disjoint_and_large_enough(situation):
    sources, seqs, calibration, validation, seed = situation
    learn, judge = split_roles(
        sources, seqs, calibration=calibration, validation=validation, rng=np.random.default_rng(seed)
    )
    assert not set(learn.tolist()) & set(judge.tolist())
    assert len(learn) >= calibration
    assert len(judge) >= validation
    assert set(learn.tolist()) | set(judge.tolist()) <= set(range(len(seqs)))


@pytest.mark.parametrize("seed", range(5))
def test_a_long_clip_keeps_a_gap_of_15_frames(seed):
    learn, judge = split_roles([0] * 600, range(600), calibration=64, validation=32, rng=np.random.default_rng(seed))
    gap = np.abs(learn[:, None] - judge[None, :]).min()
    assert gap == 16
    assert len(judge) == 200


def test_a_short_clip_shrinks_the_gap():
    gaps = []
    for total in (96, 110, 150, 300):
        learn, judge = split_roles(
            [0] * total, range(total), calibration=64, validation=32, rng=np.random.default_rng(0)
        )
        gaps.append(int(np.abs(learn[:, None] - judge[None, :]).min()))
    assert gaps == sorted(gaps)
    assert gaps[0] == 1
    assert gaps[-1] >= 8


def test_the_gap_ends_with_the_source():
    """Frame 0 of the second source is no neighbour of frame 199 of the first."""
    sources, seqs = [0] * 200 + [1] * 200, [*range(200), *range(200)]
    learn, judge = split_roles(sources, seqs, calibration=64, validation=32, rng=np.random.default_rng(3))
    for source in (0, 1):
        own = [np.array([seqs[index] for index in part if sources[index] == source]) for part in (learn, judge)]
        assert np.abs(own[0][:, None] - own[1][None, :]).min() >= 8
    assert {sources[index] for index in judge} == {0, 1}


def test_validation_is_spread_over_the_clip():
    _, judge = split_roles([0] * 960, range(960), calibration=64, validation=32, rng=np.random.default_rng(0))
    assert [int(((judge >= start) & (judge < start + 240)).sum()) for start in range(0, 960, 240)] == [80] * 4
