"""Options of a pipeline."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError
from edge_vseg.open_options import OpenOptions
from edge_vseg.pipeline.health import HealthLimits
from edge_vseg.scheduling.policies import Deadline, Policy, as_policy

Playback: TypeAlias = Literal["real-time", "flat-out"]
"""How a recording is played: like a camera, or as fast as it is segmented, every frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """The rarer options of :meth:`Pipeline.open`.

    Attributes:
        max_age_ms: How old a result may be where the caller does not say; ``None`` for three periods, as
            :class:`~edge_vseg.pipeline.freshness.PaceMeter` describes.
        playback: ``real-time`` plays a recording like a camera; ``flat-out`` segments every frame as fast as it can.
        hang_s: A frame that takes longer hangs: its worker is given up and another one started.
        open_s: The same for the opening of a bundle after a restart, and for the first frame, for which some runtimes
            compile.
        max_restarts: So many restarts within ``restart_window_s`` are tried; one more and the pipeline has failed.
        restart_window_s: The window of ``max_restarts``.
        max_frame_failures: So many failed frames in a row count as a worker that died.
        max_callback_failures: A callback that raises so often in a row is called no more.
        close_s: How long closing waits for threads before it leaves them behind; finite.
        health: When the pipeline is called degraded.
        segmenter: Precision, variant, provider and other options of the segmenter.

    Example:
        >>> from edge_vseg import Pipeline, PipelineOptions
        >>> options = PipelineOptions(playback="flat-out")
        >>> with Pipeline.open("street.evseg", "drive.mp4", options=options) as pipeline:
        ...     results = list(pipeline)
        >>> pipeline.counts.delivered
        36
    """

    max_age_ms: float | None = None
    playback: Playback = "real-time"
    hang_s: float = 5.0
    open_s: float = 60.0
    max_restarts: int = 3
    restart_window_s: float = 300.0
    max_frame_failures: int = 20
    max_callback_failures: int = 10
    close_s: float = 5.0
    health: HealthLimits = field(default_factory=HealthLimits)
    segmenter: OpenOptions = field(default_factory=OpenOptions)

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range."""
        if self.playback not in ("real-time", "flat-out"):
            raise OptionError(f"playback must be 'real-time' or 'flat-out', got {self.playback!r}")
        if self.max_age_ms is not None and not self.max_age_ms > 0:
            raise OptionError(f"max_age_ms must be positive, or None for three periods; got {self.max_age_ms}")
        for name in ("hang_s", "open_s", "restart_window_s", "close_s"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be positive, in seconds; got {getattr(self, name)}")
        if self.close_s > threading.TIMEOUT_MAX:
            raise OptionError(f"close_s must be finite, for what hangs is left behind then; got {self.close_s}")
        if not isinstance(self.segmenter, OpenOptions):
            raise OptionError(f"segmenter must be OpenOptions, got {type(self.segmenter).__name__}")
        if self.max_restarts < 0:
            raise OptionError(f"max_restarts must be 0 (never) or more, got {self.max_restarts}")
        for name in ("max_frame_failures", "max_callback_failures"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, got {getattr(self, name)}")


DEFAULT_PIPELINE_OPTIONS = PipelineOptions()


def check_options(options: object) -> None:
    """Raise OptionError for what a segmenter takes, or anything else that is not PipelineOptions."""
    if isinstance(options, OpenOptions):
        raise OptionError("a pipeline takes PipelineOptions; give PipelineOptions(segmenter=OpenOptions(...))")
    if not isinstance(options, PipelineOptions):
        raise OptionError(f"options must be PipelineOptions, got {type(options).__name__}")


def schedule_of(policy: str | Policy | None, deadline_ms: float | None) -> Policy | None:
    """The policy that a name, an object or a deadline stands for; ``None`` for the whole network on every frame.

    Raises:
        OptionError: If a policy and a deadline are given.
    """
    if deadline_ms is None:
        return None if policy is None else as_policy(policy)
    if policy is not None:
        raise OptionError("give deadline_ms or a policy, not both; Deadline(milliseconds=15, …) has more parameters")
    return Deadline(milliseconds=deadline_ms)
