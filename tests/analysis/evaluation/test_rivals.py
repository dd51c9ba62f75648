"""Streaming figures by hand: a class that changes with every frame."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vseg.analysis.evaluation.rivals import Rivals, stream_rows
from edge_vseg.types import IGNORE_ID


def flat(class_id: int) -> np.ndarray:
    return np.full((2, 2), class_id, np.uint8)


def judged(frames: int, *, network_ms: float, answer_ms: float, labelled: bool = True, **given: float) -> Rivals:
    """Ten frames a second; class k on frame k, in the truth and without a fault in both maps."""
    rivals = Rivals(frames, 10.0, **{"lag_ms": 0.0, "cores": 2, "threads": 2} | given)
    for seq in range(frames):
        truth = flat(seq if labelled else IGNORE_ID)
        rivals.add(
            truth, flat(seq), flat(seq), answer_ms=answer_ms, answer_age_frames=2 if seq else 0, network_ms=network_ms
        )
    return rivals


def test_the_newest_frame_by_hand() -> None:
    """A network of 150 ms shows the maps 0, 0, 0, 1, 2, 2, 4, 5: of eight frames, one has its own class."""
    figures = judged(8, network_ms=150.0, answer_ms=20.0).figures["newest-frame"]
    assert figures.agreement == pytest.approx(1 / 8)
    # Class 0 is right once and shown twice for another; the other seven are never right.
    assert figures.miou == pytest.approx((1 / 3) / 8)
    assert figures.age_frames == pytest.approx(np.mean([0, 1, 2, 2, 2, 3, 2, 2]))
    assert figures.dropped == 2
    assert figures.cpu_share == pytest.approx(1.0)


def test_an_answer_is_shown_when_it_is_there() -> None:
    late, timely = (judged(8, network_ms=150.0, answer_ms=20.0, lag_ms=lag).policy_figures for lag in (10.0, 20.0))
    assert timely.miou == timely.agreement == 1
    assert timely.age_frames == pytest.approx(2 * 7 / 8)
    assert late.agreement == pytest.approx(1 / 8), "the last answer, of the frame before"
    assert late.age_frames == pytest.approx((0 + 1 + 6 * 3) / 8)
    assert (late.dropped, late.cpu_share) == (0, None)


def test_two_requests_share_the_cores_that_their_threads_exceed() -> None:
    """With one thread each on two cores, two requests run side by side; with two threads each, they take turns."""
    sharing = judged(20, network_ms=300.0, answer_ms=20.0).figures
    beside = judged(20, network_ms=300.0, answer_ms=20.0, threads=1).figures
    measured = judged(20, network_ms=300.0, answer_ms=20.0, slowdown=1.0).figures
    assert beside["newest-frame-async"].age_frames == measured["newest-frame-async"].age_frames
    assert beside["newest-frame-async"].age_frames < beside["newest-frame"].age_frames
    assert sharing["newest-frame-async"].age_frames > sharing["newest-frame"].age_frames
    assert beside["newest-frame"].cpu_share == pytest.approx(0.5)
    assert sharing["newest-frame"].cpu_share == pytest.approx(1.0)


def test_without_labels_there_is_agreement() -> None:
    rivals = judged(8, network_ms=150.0, answer_ms=20.0, labelled=False)
    figures = {"policy": rivals.policy_figures} | rivals.figures
    assert {each.miou for each in figures.values()} == {None}
    assert figures["newest-frame"].agreement == pytest.approx(1 / 8)
    head, *rows = stream_rows(figures)
    assert "streaming mIoU, %" not in head
    assert rows[1][:2] == ("newest-frame", "12.50")


def test_frames_that_follow_another_are_counted() -> None:
    rivals = judged(4, network_ms=150.0, answer_ms=20.0)
    assert rivals.pairs == 3
    rivals.cut()
    for _ in range(2):
        rivals.add(flat(3), flat(3), flat(3), answer_ms=20.0, answer_age_frames=0, network_ms=150.0)
    assert rivals.pairs == 4


def test_a_cut_begins_another_stream() -> None:
    rivals = judged(4, network_ms=1e4, answer_ms=20.0)
    rivals.cut()
    rivals.add(flat(3), flat(3), flat(3), answer_ms=1e4, answer_age_frames=0, network_ms=1e4)
    assert rivals.figures["newest-frame"].agreement == pytest.approx(2 / 5), "the first frame of each"
