"""Split candidates into calibration and validation frames that are apart in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MIN_CYCLE_CANDIDATES = 24
_MAX_CYCLES_PER_SOURCE = 4
_GAP_FRAMES = 15


def split_roles(
    sources: Sequence[int], seqs: Sequence[int], *, calibration: int, validation: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split candidates into stretches of time for calibration and for validation.

    Neighbouring frames are nearly the same, so a validation frame between calibration frames would be no independent
    check. The candidates, in order of time, are cut into cycles of equal size (up to 4 per source, none below 24); in
    each, one run at a random position goes to validation, in proportion to the numbers asked for. Calibration
    candidates within 15 frames of a validation candidate of the same source are then dropped; within 7, 3 or 1 if
    fewer than half of them, or than ``calibration``, would be left. A scene shorter than a run may end up on one side.

    Args:
        sources: Source of each candidate; candidates are in order of source and time.
        seqs: Frame number of each candidate in its source.
        calibration: Calibration frames that will be chosen.
        validation: Validation frames that will be chosen; both together at most the number of candidates.
        rng: Draws the positions of the runs.

    Returns:
        Indices of the candidates for calibration (at least ``calibration``) and for validation (at least
        ``validation``).
    """
    total = len(seqs)
    target = max(validation, min(total - calibration, total * validation // (calibration + validation)))
    cycles = max(1, min(total // _MIN_CYCLE_CANDIDATES, _MAX_CYCLES_PER_SOURCE * len(set(sources)), target))
    is_validation = np.zeros(total, dtype=np.bool_)
    for cycle in range(cycles):
        start, stop = total * cycle // cycles, total * (cycle + 1) // cycles
        # Makes up for earlier cycles that were too short.
        run = min(stop - start, target * (cycle + 1) // cycles - int(is_validation.sum()))
        first = start + int(rng.integers(stop - start - run + 1))
        is_validation[first : first + run] = True
    positions = np.stack([np.asarray(sources, dtype=np.int64), np.asarray(seqs, dtype=np.int64)])
    enough = max(calibration, int((~is_validation).sum()) // 2)
    gap_frames = _GAP_FRAMES
    while gap_frames:
        keep = ~is_validation & ~_within(positions, is_validation, gap_frames)
        if keep.sum() >= enough:
            return np.flatnonzero(keep), np.flatnonzero(is_validation)
        gap_frames //= 2
    return np.flatnonzero(~is_validation), np.flatnonzero(is_validation)


def _within(positions: NDArray[np.int64], is_validation: NDArray[np.bool_], gap_frames: int) -> NDArray[np.bool_]:
    """Candidates within ``gap_frames`` of a validation candidate of the same source."""
    near = np.zeros(is_validation.shape, dtype=np.bool_)
    for source in np.unique(positions[0]):
        own = positions[0] == source
        marks = positions[1][own & is_validation]
        if marks.size:
            seqs = positions[1][own]
            right = np.searchsorted(marks, seqs).clip(max=marks.size - 1)
            left = (np.searchsorted(marks, seqs) - 1).clip(min=0)
            distance = np.minimum(np.abs(marks[right] - seqs), np.abs(seqs - marks[left]))
            near[own] = distance <= gap_frames
    return near
