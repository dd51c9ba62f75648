"""The range of scores: what decides nothing gets no levels."""

from __future__ import annotations

import numpy as np

from edge_vseg.export.quantization.ranges import RangeObserver
from edge_vseg.export.quantization.score_range import ScoreObserver

RNG = np.random.default_rng(5)


def frame(far: float) -> np.ndarray:
    """Two classes close to one another, one that has won by far in a third of the cells, and a hopeless one."""
    scores = RNG.normal(3, 0.4, (1, 4, 24, 32)).astype(np.float32)
    scores[:, 2, :8] = far
    scores[:, 2, 8:] = -far
    scores[:, 3] = -2 * far
    return scores


def classes_after(scores: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    low, high = span
    step = (high - low) / 255
    zero = round(-low / step)
    return (np.clip(np.round(scores / step) + zero, 0, 255)).argmax(1)


def test_far_scores_get_no_levels() -> None:
    frames = [frame(40.0) for _ in range(4)]
    observer, plain = ScoreObserver(len(frames)), RangeObserver()
    for scores in frames:
        observer.see(scores)
        plain.see(scores)
    low, high = observer.best()
    assert low > -15
    assert high < 15
    wrong, plainly_wrong = (
        np.mean([np.mean(classes_after(scores, span) != scores.argmax(1)) for scores in frames])
        for span in ((low, high), plain.least_error())
    )
    assert wrong < plainly_wrong / 4


def test_a_class_that_wins_high_up_is_not_clipped_into_a_tie() -> None:
    scores = np.zeros((1, 3, 8, 8), np.float32)
    scores[:, 1], scores[:, 2] = 20.0, 24.0
    observer = ScoreObserver(1)
    observer.see(scores)
    assert (classes_after(scores, observer.best()) == 2).all()


def test_scores_that_are_all_zero_or_positive() -> None:
    for scores in (np.zeros((1, 2, 4, 4), np.float32), np.full((1, 2, 4, 4), 3.0, np.float32)):
        observer = ScoreObserver(1)
        assert not observer.has_seen
        observer.see(scores)
        assert observer.has_seen
        low, high = observer.best()
        assert low == 0
        assert high <= 3.0


def test_of_equal_ranges_the_widest_is_taken() -> None:
    """Winners far above all others: a tighter range would change nothing here, and make ties elsewhere."""
    scores = np.full((1, 3, 8, 8), -200.0, np.float32)
    scores[:, 1] = np.linspace(200, 300, 64).reshape(8, 8)
    observer = ScoreObserver(1)
    observer.see(scores)
    assert observer.best() == (-200.0, 300.0)


def test_frames_are_not_kept() -> None:
    scores = np.zeros((1, 3, 64, 64), np.float32)
    observer = ScoreObserver(100)
    observer.see(scores)
    assert not any(np.shares_memory(pairs, scores) or pairs.base is not None for pairs in observer._pairs)


def test_a_map_of_one_column() -> None:
    scores = RNG.normal(0, 1, (1, 3, 8, 1)).astype(np.float32)
    observer = ScoreObserver(1)
    observer.see(scores)
    low, high = observer.best()
    assert low < 0 < high
