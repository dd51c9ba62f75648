"""A trial: one setting on the clip, measured here or replayed on a device's costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_vseg.analysis.cpu_use import CpuMeter, cores_of
from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.frame_pacing import Answer, FrameStream, VirtualTimer, WallTimer
from edge_vseg.analysis.evaluation.newest_frame import AnswerTimes
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.child_process.process_memory import available_memory
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.device_profile import read_device_profile
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.tuning.clip import read_clip
from edge_vseg.tuning.setting import Setting
from edge_vseg.tuning.wish import Figures, Wish
from edge_vseg.types import LabelMap

STOP_AFTER_S = 3.0
"""Seconds of video after which a hopeless trial is given up."""
LEAST_FRAMES = 8
"""A trial is not given up before so many."""
MEMORY_SHARE = 0.5
"""Share of the free memory that a measured trial may take for frames and maps."""
CLEARLY = 0.5
"""A trial is given up if its 99th percentile is above the deadline by more than this share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialJob:
    """Everything that a trial needs, so that it can run in another process or on another machine.

    Attributes:
        setting: What to run.
        bundle: Its bundle.
        companion: Bundle of its companion; ``None`` for none.
        frames: The clip's video or folder of images.
        truth: The clip's maps.
        count: Frames of the clip.
        least_share: Classes that cover less than this share of the maps do not count for the quality.
        wish: The limits, and the rate of the frames.
        profile: Device profile to replay; ``None`` to measure here.
        network_scale: Replay a network that takes so many times as long.
    """

    setting: Setting
    bundle: Path
    companion: Path | None
    frames: Path
    truth: Path
    count: int
    least_share: float
    wish: Wish
    profile: Path | None
    network_scale: float

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files and folders that it reads."""
        found = (self.bundle, self.companion, self.frames, self.truth, self.profile)
        return tuple(path for path in found if path is not None)


def run_trial(job: TrialJob, files: Callable[[Path], Path]) -> Figures:
    """Run a trial; ``files`` gives the path on this machine of what the job names.

    The first frame is start-up and no part of the times. A trial that breaks the deadline clearly is given up after
    :data:`STOP_AFTER_S`; its figures are then those of the frames until there.

    Raises:
        OptionError: If the variant lacks what the policy needs, or the profile has no costs of a step.
        BackendError: If the variant cannot be opened.
    """
    return watch_trial(job, files, lambda frame, answer: None)


def watch_trial(
    job: TrialJob, files: Callable[[Path], Path], observe: Callable[[LabelledFrame, Answer], None]
) -> Figures:
    """As :func:`run_trial`; ``observe`` is called with each frame and its answer."""
    profile = None
    if job.profile is not None:
        profile = read_device_profile(files(job.profile)).with_slower_network(job.network_scale)
    clock = None if profile is None else VirtualClock()
    options = RuntimeOptions(
        variant=job.setting.variant,
        # One thread gives the same maps wherever it runs, and as many trials at a time as there are cores.
        threads=job.setting.threads if profile is None else 1,
        borders=job.setting.borders,
        companion=None if job.companion is None else files(job.companion),
    )
    with options.open_segmenter(files(job.bundle), job.setting.make_policy(), replay=profile, clock=clock) as segmenter:
        threads = job.setting.threads if profile is None else profile.threads
        cpu = CpuMeter(cores_of(profile), min(threads or cores_of(profile), cores_of(profile)))
        meter = _Meter(len(segmenter.labels), job, cpu)
        stream = FrameStream(segmenter, job.wish.rate, VirtualTimer(clock) if clock else WallTimer(), cpu)
        frames: Iterable[LabelledFrame] = read_clip(files(job.frames), files(job.truth), job.count)
        if clock is None:
            frames = list(frames)  # on the wall clock, decoding would delay frames
            _check_memory(job, frames)
        answers: list[tuple[LabelledFrame, Answer]] = []
        stream.resume()
        for frame in frames:
            answer = stream(frame)
            meter.add_time(answer.total_ms)
            if clock is None:
                answers.append((frame, answer))
            else:
                meter.judge(frame, answer)
                observe(frame, answer)
            if meter.is_hopeless:
                break
        stream.pause()
        # On the wall clock maps are judged afterwards: it would take the time of the frames and of the background.
        for frame, answer in answers:
            meter.judge(frame, answer)
            observe(frame, answer)
        return meter.figures(stopped=meter.is_hopeless)


def _check_memory(job: TrialJob, frames: list[LabelledFrame]) -> None:
    """Raise OptionError if measuring needs too much memory: frames and maps are kept until they are judged."""
    needed = sum(frame.image.nbytes + 2 * frame.labels.nbytes for frame in frames)
    free = available_memory()
    if free is not None and needed > MEMORY_SHARE * free:
        raise OptionError(
            f"{len(frames)} frames and their maps take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; give"
            " fewer --max-frames"
        )


class _Meter:
    """Counts the figures of a trial frame by frame."""

    def __init__(self, classes: int, job: TrialJob, cpu: CpuMeter) -> None:
        self._wish = wish = job.wish
        self._least_share = job.least_share
        self._cpu = cpu
        self._shown = AnswerTimes(1e3 / wish.rate, lag_ms=wish.deadline_ms or 0.0)
        self._confusion = Confusion(classes)
        self._maps: dict[int, tuple[LabelMap, int]] = {}
        self._ms: list[float] = []
        self._ages: list[int] = []
        self._oldest = 0

    def add_time(self, total_ms: float) -> None:
        """Add the time of the next frame's answer."""
        self._ms.append(total_ms)

    def judge(self, frame: LabelledFrame, answer: Answer) -> None:
        """Judge what is shown for the next frame."""
        seq, result = len(self._ages), answer.result
        shown = self._shown.add(answer.total_ms)
        self._maps[seq] = (result.labels.copy(), result.age_frames)
        labels, age = self._maps[shown]
        self._confusion.add(frame.labels, labels)
        self._maps = {number: each for number, each in self._maps.items() if number >= self._shown.oldest}
        self._ages.append(seq - shown + age)
        self._oldest = max(self._oldest, result.age_frames)

    @property
    def is_hopeless(self) -> bool:
        """Whether the deadline was clearly broken in the first seconds, and is still broken."""
        limit = self._wish.deadline_ms
        if limit is None or len(self._ms) != max(LEAST_FRAMES, round(STOP_AFTER_S * self._wish.rate)):
            return False
        return float(np.percentile(self._ms[1:], 99)) > (1 + CLEARLY) * limit

    def _quality(self) -> float:
        if not self._confusion.matrix.any():
            return 0.0  # given up before the first labels
        if not self._least_share:
            return self._confusion.mean_iou
        shares = self._confusion.matrix.sum(axis=1) / max(1, self._confusion.matrix.sum())
        return float(np.mean(self._confusion.iou[shares >= self._least_share]))

    def figures(self, *, stopped: bool) -> Figures:
        """The figures of all frames so far; the first frame is start-up and no part of the times."""
        times_ms = self._ms[1:] or self._ms
        limit = self._wish.deadline_ms
        return Figures(
            quality=100 * self._quality(),
            accuracy=100 * self._confusion.pixel_accuracy,
            p50_ms=float(np.percentile(times_ms, 50)),
            p99_ms=float(np.percentile(times_ms, 99)),
            cpu_share=self._cpu.share or 0.0,
            misses=0.0 if limit is None else float(np.mean([ms > limit for ms in times_ms])),
            age_frames=float(np.mean(self._ages)),
            oldest_frames=self._oldest,
            frames=len(self._ms),
            stopped=stopped,
        )
