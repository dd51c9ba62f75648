"""When frames arrive, on a virtual clock: start-up delays nothing, late answers do."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.evaluation_data import EvaluationData
from edge_vseg.analysis.evaluation.frame_pacing import Answer, FrameStream, VirtualTimer
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.types import BackgroundSpan, Frame, Result
from edge_vseg.video import open_source

MS = 10**6
FRAME = LabelledFrame(image=np.zeros((4, 4, 3), np.uint8), labels=np.zeros((4, 4), np.uint8))


class Slow:
    """Answers each frame after so many milliseconds of a virtual clock, and keeps the frames."""

    def __init__(self, clock: VirtualClock, times_ms: list[float]) -> None:
        self.clock = clock
        self.frames: list[Frame] = []
        self._left_ms = iter(times_ms)

    def __call__(self, frame: Frame, /) -> Result:
        self.frames.append(frame)
        taken_ms = next(self._left_ms)
        self.clock.advance_to(self.clock() + round(taken_ms * MS))
        return Result(
            labels=FRAME.labels, seq=frame.seq, capture_ns=frame.capture_ns, done_ns=0, latency_ms={"total": taken_ms}
        )

    @property
    def captures_ms(self) -> list[float]:
        return [frame.capture_ns / MS for frame in self.frames]


def streamed(times_ms: list[float], rate: float | None, *, begin_ms: float = 7.0) -> tuple[Slow, list[Answer]]:
    clock = VirtualClock()
    clock.advance_to(round(begin_ms * MS))
    slow = Slow(clock, times_ms)
    stream = FrameStream(slow, rate, VirtualTimer(clock), CpuMeter(2, 1))
    return slow, [stream(FRAME) for _ in times_ms]


def test_a_video_s_times_reach_the_segmenter_as_in_a_run(drive_video: Path) -> None:
    """A companion's weight goes by them; without, by how fast this machine happens to answer."""
    clock = VirtualClock()
    slow = Slow(clock, [10.0] * 5)
    stream = FrameStream(slow, None, VirtualTimer(clock), CpuMeter(2, 1))
    frames, _ = EvaluationData(video=str(drive_video), max_frames=5).read(Path(), codec_motion=False)
    begins = [stream(frame).begins for frame in frames]
    with open_source(str(drive_video), max_frames=5) as source:
        assert [frame.pts_ns for frame in slow.frames] == [frame.pts_ns for frame in source]
    assert slow.frames[-1].pts_ns == pytest.approx(4e9 / 15, abs=1e6)
    assert begins == [True, False, False, False, False]


def test_start_up_delays_no_frame_behind_it() -> None:
    """A first answer of 4.2 periods: frame 1 arrives with it, and no frame is late."""
    slow, answers = streamed([420.0, 10.0, 10.0, 10.0], 10.0)
    assert slow.captures_ms == [7.0, 427.0, 527.0, 627.0]
    assert [answer.total_ms for answer in answers] == [420.0, 10.0, 10.0, 10.0]
    assert [answer.begins for answer in answers] == [True, False, False, False]


def test_after_a_short_start_frame_1_comes_a_period_after_frame_0() -> None:
    slow, answers = streamed([30.0, 10.0, 10.0], 10.0)
    assert slow.captures_ms == [7.0, 107.0, 207.0]
    assert [answer.total_ms for answer in answers] == [30.0, 10.0, 10.0]


def test_a_late_answer_delays_the_frames_behind_it() -> None:
    """Frame 1 takes 250 ms: frame 2 waits for 150 ms of them, frame 3 for 60."""
    slow, answers = streamed([30.0, 250.0, 10.0, 10.0, 10.0], 10.0)
    assert slow.captures_ms == [7.0, 107.0, 207.0, 307.0, 407.0]
    assert [answer.total_ms for answer in answers] == [30.0, 250.0, 160.0, 70.0, 10.0]


def test_without_a_rate_a_frame_arrives_when_the_last_is_answered() -> None:
    slow, answers = streamed([30.0, 250.0, 10.0], None)
    assert slow.captures_ms == [7.0, 37.0, 287.0]
    assert [answer.total_ms for answer in answers] == [30.0, 250.0, 10.0]


def in_turns(rate: float | None, pause_ms: float) -> tuple[Slow, list[Answer]]:
    clock = VirtualClock()
    slow = Slow(clock, [30.0, 10.0, 10.0] * 2)
    stream = FrameStream(slow, rate, VirtualTimer(clock), CpuMeter(2, 1))
    answers = []
    for _ in range(2):
        stream.resume()
        answers += [stream(FRAME) for _ in range(3)]
        stream.pause()
        clock.advance_to(clock() + round(pause_ms * MS))
    return slow, answers


def test_a_pause_in_which_no_time_passes_is_none() -> None:
    slow, answers = in_turns(10.0, 0.0)
    assert slow.captures_ms == [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]
    assert [frame.seq for frame in slow.frames] == [0, 1, 2, 3, 4, 5]
    assert sum(answer.begins for answer in answers) == 1


def test_at_a_rate_a_turn_after_a_pause_is_another_stream() -> None:
    """Its number makes the segmenter forget; the pause is no latency."""
    slow, answers = in_turns(10.0, 5000.0)
    assert [frame.seq for frame in slow.frames] == [0, 1, 2, 0, 1, 2]
    assert slow.captures_ms == [0.0, 100.0, 200.0, 5300.0, 5400.0, 5500.0]
    assert [answer.begins for answer in answers] == [True, False, False] * 2
    assert [answer.total_ms for answer in answers] == [30.0, 10.0, 10.0] * 2


def test_without_a_rate_pauses_are_no_part_of_capture_times() -> None:
    """Else a policy would find its maps too old after each pause."""
    slow, answers = in_turns(None, 5000.0)
    assert max(after - before for before, after in pairwise(slow.captures_ms)) == 30.0
    assert [frame.seq for frame in slow.frames] == [0, 1, 2, 3, 4, 5]
    assert sum(answer.begins for answer in answers) == 1


def in_clips(rate: float | None, *frames: tuple[str, float | None]) -> tuple[Slow, list[Answer], CpuMeter]:
    """Frames of 20 ms by clip and time, on two cores."""
    clock = VirtualClock()
    slow, cpu = Slow(clock, [20.0] * len(frames)), CpuMeter(2, 1)
    stream = FrameStream(slow, rate, VirtualTimer(clock), cpu)
    answers = [stream(replace(FRAME, clip=clip, time_s=time_s)) for clip, time_s in frames]
    stream.pause()
    return slow, answers, cpu


@pytest.mark.parametrize("rate", [None, 10.0])
@pytest.mark.parametrize("second", ["b", "a"], ids=["of another name", "whose time starts again"])
def test_another_clip_is_another_stream(second: str, rate: float | None) -> None:
    """Its number makes the segmenter forget."""
    times_s = (0.0, 0.1, 0.2)
    slow, answers, _ = in_clips(rate, *(("a", time_s) for time_s in times_s), *((second, time_s) for time_s in times_s))
    assert [frame.seq for frame in slow.frames] == [0, 1, 2, 0, 1, 2]
    assert [answer.begins for answer in answers] == [True, False, False] * 2
    if rate is not None:
        assert slow.captures_ms == [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]


def test_a_gap_in_a_clip_is_carried_across() -> None:
    slow, _, _ = in_clips(None, ("a", 0.0), ("a", 0.1), ("a", 5.0), ("a", None), ("a", None))
    assert [frame.seq for frame in slow.frames] == [0, 1, 2, 3, 4]


def test_cpu_share_over_clips_by_hand() -> None:
    """Frames 1 and 2 of each clip take 20 of 100 ms on one of two cores; a clip of one frame is start-up alone."""
    _, _, cpu = in_clips(10.0, *((clip, None) for clip in "aaabbbc"))
    assert cpu.share == pytest.approx(0.1)


def result(latency_ms: dict[str, float], *spans_ms: tuple[str, float, float]) -> Result:
    background = tuple(
        BackgroundSpan(step=step, start_ns=round(start * MS), end_ns=round(end * MS)) for step, start, end in spans_ms
    )
    return Result(labels=FRAME.labels, seq=0, capture_ns=0, done_ns=0, latency_ms=latency_ms, background=background)


def test_cpu_share_by_hand() -> None:
    """Two cores, two threads, 200 ms: 400 core milliseconds.

    The frame lane has 12 + 8 ms, and the second thread 10 of the network; the background 40 ms of two threads, of which
    10 are before the stream.
    """
    meter = CpuMeter(2, 2)
    meter.add(result({"total": 500.0, "infer": 500.0}))  # start-up
    meter.begin(1000 * MS)
    meter.add(result({"total": 12.0, "infer": 8.0, "labels": 3.0}, ("slice 0", 990.0, 1010.0)))
    meter.add(result({"total": 8.0, "slice 1": 2.0, "motion dis": 4.0}, ("infer", 1020.0, 1040.0)))
    meter.end(1200 * MS)
    assert meter.share == pytest.approx((12 + 8 + 10 + 2 * 30) / 400)
    assert meter.process_share is None


def test_only_the_network_takes_all_threads() -> None:
    meter = CpuMeter(2, 2)
    meter.begin(0)
    meter.add(result({"total": 0.0}, ("background", 0.0, 100.0), ("labels", 100.0, 120.0)))
    meter.end(200 * MS)
    assert meter.share == pytest.approx((2 * 100 + 20) / 400)


def test_the_process_is_measured_while_frames_arrive() -> None:
    seconds = iter([5.0, 5.1, 9.0, 9.3])
    meter = CpuMeter(4, 1, lambda: next(seconds))
    for begin, end in ((0, 500), (2000, 2500)):
        meter.begin(begin * MS)
        meter.end(end * MS)
    assert meter.process_share == pytest.approx(0.4 / 4)


def test_without_a_rate_there_is_no_share() -> None:
    meter = CpuMeter(2, 2)
    meter.add(result({"total": 5.0}))
    assert meter.share is None
