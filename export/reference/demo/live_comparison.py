"""A network slower than the camera, live: newest frame and drop against a deadline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.export.reference.demo.live_run import LiveAnswer, run_live
from edge_vseg.export.reference.demo.live_score import LiveClip, LiveScore, mean_iou, score_live, shown_when_due
from edge_vseg.export.reference.demo.slow_network import THREADS, SlowNetwork
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.types import LabelMap

DEADLINE_PERIODS = 0.45
"""The deadline, in frame periods: 15 ms at 30 frames per second."""
LEAD_IN_S = 0.5
DROPPED, DEADLINE = "every other frame dropped", "deadline engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveComparison:
    """Figures of both runs.

    Attributes:
        bundle: The bundle that ran.
        variant: Its variant.
        threads: Threads of the network.
        size_hw: Input size.
        rate: Frames per second.
        wanted_rate: The same; another one if no input size makes the network slow enough, or fast enough, for it.
        frames: Frames that count.
        network_ms: Median milliseconds of a frame when the network has the machine to itself, image to label map.
        periods: The same in frame periods.
        deadline_ms: Milliseconds from the arrival of a frame to its answer.
        labelled: Whether the maps were compared with ground truth; else with every-frame inference.
        every_frame_miou: mIoU of every-frame inference without a clock; ``None`` without ground truth.
        runs: Newest frame and drop, then the deadline.
    """

    bundle: Path
    variant: str
    threads: int
    size_hw: tuple[int, int]
    rate: float
    wanted_rate: float
    frames: int
    network_ms: float
    periods: float
    deadline_ms: float
    labelled: bool
    every_frame_miou: float | None
    runs: tuple[LiveScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveRuns:
    """Both runs, frame by frame.

    Attributes:
        comparison: Their figures.
        clip: The video.
        truths: What the maps were compared with, a map for each frame.
        answers: By name of the run.
    """

    comparison: LiveComparison
    clip: LiveClip
    truths: Sequence[LabelMap]
    answers: dict[str, list[LiveAnswer]]

    @property
    def shown(self) -> dict[str, list[LiveAnswer | None]]:
        """By name of the run, what is on the screen when the answer for each frame is due."""
        clip = self.clip
        return {
            name: shown_when_due(given, len(clip.images), clip.rate, clip.deadline_ms)
            for name, given in self.answers.items()
        }


def compare_live(network: SlowNetwork, clip: LiveClip, progress: Callable[[str], None] = lambda step: None) -> LiveRuns:
    """Run a video live, once by newest frame and drop, once with a deadline.

    Args:
        network: What runs.
        clip: The video.
        progress: Called with the name of each step.

    Raises:
        BackendError: If the variant cannot be opened.
        SessionError: If the runtime fails.
    """
    options = RuntimeOptions(variant=network.variant, threads=THREADS)
    answers: dict[str, list[LiveAnswer]] = {}
    with options.open_segmenter(network.bundle) as plain:
        progress("inferring every frame")
        every = [plain(image).labels for image in clip.images]
        progress(f"{DROPPED}, live")
        answers[DROPPED] = run_live(plain, clip.images, clip.rate)
    progress(f"{DEADLINE}, live")
    with options.open_segmenter(network.bundle, Deadline(milliseconds=clip.deadline_ms)) as scheduled:
        answers[DEADLINE] = run_live(scheduled, clip.images, clip.rate)
    truths = clip.truths or every
    scored = slice(clip.lead_in, None)
    every_miou = mean_iou(every[scored], clip.truths[scored], clip.classes) if clip.truths else None
    comparison = LiveComparison(
        bundle=network.bundle,
        variant=network.variant,
        threads=THREADS,
        size_hw=network.input.size_hw,
        rate=clip.rate,
        wanted_rate=network.wanted_rate,
        frames=len(clip.scored),
        network_ms=network.input.network_ms,
        periods=network.input.network_ms * clip.rate / 1000,
        deadline_ms=clip.deadline_ms,
        labelled=bool(clip.truths),
        every_frame_miou=every_miou,
        runs=tuple(score_live(name, given, clip, truths) for name, given in answers.items()),
    )
    return LiveRuns(comparison=comparison, clip=clip, truths=truths, answers=answers)
