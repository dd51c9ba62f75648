"""The pool stays within its bounds and keeps rare scenes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.calibration.frames.candidate_pool import Candidate, CandidatePool, DuplicateReserve
from edge_vseg.calibration.frames.descriptors import Descriptor
from edge_vseg.types import Frame


def candidate(seq: int, place: tuple[float, ...], side: int = 4) -> Candidate:
    descriptor = Descriptor(thumbnail=np.zeros((9, 16, 3), np.float32), vector=np.array(place, np.float32))
    frame = Frame(image=np.zeros((side, side, 3), np.uint8), seq=seq, capture_ns=0)
    return Candidate(source=0, frame=frame, sharpness=0.0, descriptor=descriptor)


def pool(max_frames: int = 50, min_frames: int = 10, max_bytes: int = 10**9) -> CandidatePool:
    return CandidatePool(
        max_frames=max_frames, min_frames=min_frames, max_bytes=max_bytes, rng=np.random.default_rng(0)
    )


def seqs(held: CandidatePool | DuplicateReserve) -> list[int]:
    return [item.frame.seq for item in held.candidates]


def test_a_pool_that_is_not_full_keeps_all_in_order():
    held = pool()
    for seq in range(50):
        held.add(candidate(seq, (0.0, 0.0)))
    assert seqs(held) == list(range(50))


def test_a_long_clip_stays_within_the_maximum():
    held, rng, max_frames = pool(), np.random.default_rng(1), 0
    for seq in range(3000):
        held.add(candidate(seq, tuple(rng.random(3))))
        max_frames = max(max_frames, len(held.candidates))
    assert max_frames == 50
    assert len(held.candidates) >= 10
    assert seqs(held) == sorted(set(seqs(held)))


def test_a_rare_scene_survives_a_flood_of_common_ones():
    held, rng = pool(), np.random.default_rng(1)
    for seq in range(3000):
        place = (9.0, 9.0, 9.0) if seq == 7 else tuple(rng.random(3))
        held.add(candidate(seq, place))
    assert 7 in seqs(held)


def test_the_pool_covers_the_clip():
    """On a line of 3000 places none is farther from the pool than a tenth of the line."""
    held = pool()
    for seq in range(3000):
        held.add(candidate(seq, (seq / 3000,)))
    places = np.array([item.descriptor.vector[0] for item in held.candidates])
    assert np.abs(np.linspace(0, 1, 500)[:, None] - places).min(axis=1).max() < 0.1


@pytest.mark.parametrize(("max_bytes", "max_frames"), [(48 * 20, 20), (48 * 3, 10)])
def test_bytes_are_bounded_but_never_below_the_minimum(max_bytes, max_frames):
    held, rng = pool(max_bytes=max_bytes), np.random.default_rng(2)
    for seq in range(300):
        held.add(candidate(seq, tuple(rng.random(3))))
        assert len(held.candidates) <= max_frames
    assert len(held.candidates) >= 9


def test_a_candidate_can_be_replaced():
    held = pool()
    first, second, third = (candidate(seq, (float(seq),)) for seq in range(3))
    held.add(first)
    held.add(second)
    held.replace(first, third)
    held.replace(first, candidate(8, (0.0,)))
    assert seqs(held) == [2, 1]


def test_the_duplicate_reserve_is_small_and_even():
    reserve = DuplicateReserve(8)
    for seq in range(1000):
        reserve.add(candidate(seq, (0.0,)))
    kept = seqs(reserve)
    assert 4 <= len(kept) <= 8
    assert len(set(np.diff(kept))) == 1
