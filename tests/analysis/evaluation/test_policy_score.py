"""The figures of a policy, counted from answers whose times are known."""

from __future__ import annotations

import numpy as np

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.frame_pacing import FrameStream, VirtualTimer
from edge_vseg.analysis.evaluation.map_quality import QualityMeter
from edge_vseg.analysis.evaluation.policy_score import PolicyScore, ScoreCounts
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.bundle.manifest import Label
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.types import Frame, Result

LABELS = tuple(Label(id=n, name=name, color=(n, n, n)) for n, name in enumerate(("road", "car", "sky")))
RATE = 10.0
PERIOD_MS = 1e3 / RATE
COUNT = 30


class PerfectButSlow:
    """Answers each frame with its truth, after so many milliseconds of a virtual clock; all equal but the first."""

    def __init__(self, clock: VirtualClock, truth: np.ndarray, first_ms: float, each_ms: float) -> None:
        self._clock, self._truth = clock, truth
        self._first_ms, self._each_ms = first_ms, each_ms

    def __call__(self, frame: Frame, /) -> Result:
        taken_ms = self._each_ms if frame.seq else self._first_ms
        self._clock.advance_to(self._clock() + round(taken_ms * 1e6))
        return Result(
            labels=self._truth[frame.seq], seq=frame.seq, capture_ns=0, done_ns=0, latency_ms={"total": taken_ms}
        )


def counted(first_ms: float, each_ms: float) -> PolicyScore:
    """A policy that infers every frame, beside every-frame inference of the same times."""
    truth = np.random.default_rng(0).integers(0, 3, (COUNT, 8, 8), np.uint8)
    clock = VirtualClock()
    answerer, cpu = PerfectButSlow(clock, truth, first_ms, each_ms), CpuMeter(2, 1)
    stream = FrameStream(answerer, RATE, VirtualTimer(clock), cpu)
    counts = ScoreCounts(
        policy=QualityMeter(LABELS, RATE), every_frame=QualityMeter(LABELS, RATE), fidelity=Confusion(3), rivals=None
    )
    for number in range(COUNT):
        frame = LabelledFrame(image=np.zeros((8, 8, 3), np.uint8), labels=truth[number], clip="a")
        answer = stream(frame)
        counts.add(frame, answer, answer.result, first_ms if number == 0 else each_ms)
    return counts.score("p", "v", "cpu", None, cpu)


def test_a_policy_that_is_every_frame_has_the_streaming_figures_of_every_frame() -> None:
    """1.2 periods a frame: the worker never waits, takes the newest, and leaves out every sixth frame."""
    score = counted(first_ms=1.2 * PERIOD_MS, each_ms=1.2 * PERIOD_MS)
    assert score.timing.max > 5 * PERIOD_MS, "answered in turn, the frames queue"
    assert score.quality.streaming_dropped == score.every_frame_quality.streaming_dropped
    assert score.quality.streaming_miou == score.every_frame_quality.streaming_miou
    assert score.quality.streaming_dropped is not None
    assert 3 <= score.quality.streaming_dropped <= COUNT / 6 + 1


def test_start_up_takes_no_time_in_streaming_figures() -> None:
    """A first frame of ten periods changes nothing: it is start-up, and its map counts as there at once."""
    quick, slow = (counted(first_ms=first_ms, each_ms=0.5 * PERIOD_MS) for first_ms in (1.0, 10 * PERIOD_MS))
    assert quick.quality.streaming_miou == slow.quality.streaming_miou == slow.every_frame_quality.streaming_miou
    assert slow.quality.streaming_dropped == 0
