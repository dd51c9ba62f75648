"""Keeping the frames that judge apart from the frames that calibrate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CYCLE = 24
_CYCLES_PER_SOURCE = 4
_GUARD = 15


def split_roles(
    sources: Sequence[int], seqs: Sequence[int], *, calibration: int, validation: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide candidates into runs of time for calibration and runs of time for validation.

    Neighbouring frames of a video are nearly the same, so a validation frame between two calibration frames would
    judge what was calibrated on. The rule: the candidates, in order of time, are cut into cycles of equal
    number (up to 4 per source, none shorter than 24); within each, one run goes to validation, in proportion to what
    is asked for, at a place drawn at random. Then calibration candidates within 15 frames of a validation candidate
    of the same source are given up, or within 7, 3, 1, so that at least half of them are left to choose from,
    and as many as are asked for. A scene shorter than a run may fall to one side alone.

    Args:
        sources: Source of each candidate; candidates stand in order of source and time.
        seqs: Frame number of each candidate in its source.
        calibration: How many calibration frames will be chosen.
        validation: How many validation frames; both together at most the number of candidates.
        rng: Draws where the runs lie.

    Returns:
        The indices of the candidates for calibration (at least ``calibration``), and for validation (at least
        ``validation``).
    """
    total = len(seqs)
    wanted = max(validation, min(total - calibration, total * validation // (calibration + validation)))
    cycles = max(1, min(total // _CYCLE, _CYCLES_PER_SOURCE * len(set(sources)), wanted))
    judges = np.zeros(total, dtype=np.bool_)
    for cycle in range(cycles):
        start, stop = total * cycle // cycles, total * (cycle + 1) // cycles
        # What an earlier cycle was too short for is made up for here.
        run = min(stop - start, wanted * (cycle + 1) // cycles - int(judges.sum()))
        first = start + int(rng.integers(stop - start - run + 1))
        judges[first : first + run] = True
    place = np.stack([np.asarray(sources, dtype=np.int64), np.asarray(seqs, dtype=np.int64)])
    enough = max(calibration, int((~judges).sum()) // 2)
    guard = _GUARD
    while guard:
        keep = ~judges & ~_within(place, judges, guard)
        if keep.sum() >= enough:
            return np.flatnonzero(keep), np.flatnonzero(judges)
        guard //= 2
    return np.flatnonzero(~judges), np.flatnonzero(judges)


def _within(place: NDArray[np.int64], judges: NDArray[np.bool_], guard: int) -> NDArray[np.bool_]:
    """Which candidates lie within ``guard`` frames of a validation candidate of their own source."""
    near = np.zeros(judges.shape, dtype=np.bool_)
    for source in np.unique(place[0]):
        own = place[0] == source
        marks = place[1][own & judges]
        if marks.size:
            seqs = place[1][own]
            right = np.searchsorted(marks, seqs).clip(max=marks.size - 1)
            left = (np.searchsorted(marks, seqs) - 1).clip(min=0)
            gap = np.minimum(np.abs(marks[right] - seqs), np.abs(seqs - marks[left]))
            near[own] = gap <= guard
    return near
