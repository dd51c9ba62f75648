"""Run frames as they come from a camera: in real time, and the newest one only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_vseg.types import Frame, Image, Result

START_S = 0.05
"""From the start of a run to its first frame, so that it is not late."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveAnswer:
    """A label map, and when it was there.

    Attributes:
        seq: Number of the frame it was made for.
        latency_ms: Milliseconds from the arrival of that frame.
        result: The segmenter's result.
    """

    seq: int
    latency_ms: float
    result: Result

    def done_ms(self, rate: float) -> float:
        """Milliseconds from the arrival of frame 0, at a frame rate."""
        return 1000 * self.seq / rate + self.latency_ms


def run_live(
    segment: Callable[[Frame], Result],
    images: Sequence[Image],
    rate: float,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[LiveAnswer]:
    """Segment the newest frame whenever the segmenter is free; frames that a newer one has replaced are dropped.

    Args:
        segment: The segmenter.
        images: ``(H, W, 3)`` uint8 BGR; image k arrives ``k / rate`` seconds after the first.
        rate: Frames per second.
        clock: Monotonic nanoseconds, the clock of :attr:`Frame.capture_ns <edge_vseg.types.Frame>`.
        sleep: Waits for so many seconds.

    Returns:
        An answer for each frame that was not dropped, in order.
    """
    period_ns = 1e9 / rate
    begin_ns = clock() + round(START_S * 1e9)
    answers: list[LiveAnswer] = []
    seq = 0
    while seq < len(images):
        wait_ns = begin_ns + round(seq * period_ns) - clock()
        if wait_ns > 0:
            sleep(wait_ns / 1e9)
        newest = int((clock() - begin_ns) / period_ns)
        seq = min(max(seq, newest), len(images) - 1)
        arrival_ns = begin_ns + round(seq * period_ns)
        result = segment(Frame(image=images[seq], seq=seq, capture_ns=arrival_ns))
        answers.append(LiveAnswer(seq=seq, latency_ms=(clock() - arrival_ns) / 1e6, result=result))
        seq += 1
    return answers
