"""Decisions, latencies and example frames of an evaluation, for its page."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.report.example_frames import ExampleFrame
from edge_vseg.types import Result

EXAMPLE_INTERVAL_FRAMES = 4
MAX_EXAMPLES = 12


@dataclass(slots=True, kw_only=True, eq=False)
class FrameLog:
    """What a page shows of single frames; pass :meth:`add` to ``evaluate_policy`` as ``observe``.

    Attributes:
        decisions: Decision of the policy, and milliseconds, by frame.
        every_frame_ms: Milliseconds of every-frame inference, by frame.
        examples: Example frames from the whole video.
    """

    decisions: list[tuple[str, float]] = field(default_factory=list)
    every_frame_ms: list[float] = field(default_factory=list)
    examples: list[ExampleFrame] = field(default_factory=list)
    _interval_frames: int = EXAMPLE_INTERVAL_FRAMES

    def add(self, frame: LabelledFrame, result: Result, every_ms: float) -> None:
        """Add the policy's result for a frame, and the milliseconds of every-frame inference."""
        number = len(self.decisions)
        self.decisions.append((result.decision.summary, result.latency_ms["total"]))
        self.every_frame_ms.append(every_ms)
        if number % self._interval_frames:
            return
        example = ExampleFrame(image=frame.image.copy(), result=result, when=f"frame {number}", truth=frame.labels)
        self.examples.append(example)
        if len(self.examples) == MAX_EXAMPLES:  # thin out, so that the examples span a video of any length
            self.examples, self._interval_frames = self.examples[::2], 2 * self._interval_frames
