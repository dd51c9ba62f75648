"""Run a bundle on a video, at a camera's pace or flat out, and count everything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import NoFramesError, OptionError
from edge_vseg.manifest import Label, Precision
from edge_vseg.policies import Budget, Policy
from edge_vseg.profiling.feed import find_feed
from edge_vseg.profiling.machine import describe_machine
from edge_vseg.profiling.operators import dearest_operators
from edge_vseg.profiling.profile import Operator, Profile
from edge_vseg.profiling.recorder import Recorder, Shot
from edge_vseg.profiling.sensors import Sensors
from edge_vseg.profiling.watch import Watch
from edge_vseg.segmenter import Segmenter
from edge_vseg.video import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """How to profile.

    Attributes:
        policy: What schedules frames; ``None`` for every frame by itself.
        seconds: How long to run; a recording that is shorter begins anew.
        rate: Frames a second that come; ``None`` for the video's own. A camera or stream has its own.
        flat_out: Take frames as fast as they are done, instead.
        runtime: As in :meth:`Segmenter.open <edge_vseg.Segmenter.open>`.
        precision: The same.
        threads: The same.
        provider: The same.
        operators: Ask the runtime's own profiler for the dearest operators, before the run.
        codec_motion: Whether frames have to bring the motion of their codec.
    """

    policy: Policy | None = None
    seconds: float = 60.0
    rate: float | None = None
    flat_out: bool = False
    runtime: str = "auto"
    precision: Precision | None = None
    threads: int = 0
    provider: str = ""
    operators: bool = True
    codec_motion: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not 0 < self.seconds < math.inf:
            raise OptionError(f"seconds must be positive, got {self.seconds}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise OptionError(f"the rate must be positive frames a second, got {self.rate}")
        if self.flat_out and self.rate is not None:
            raise OptionError("frames come at a rate or as fast as they are done; leave out --rate or --flat-out")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileRun:
    """A profile, and what its report shows besides.

    Attributes:
        profile: The figures.
        shots: Frames with their results.
        labels: The bundle's classes.
    """

    profile: Profile
    shots: tuple[Shot, ...]
    labels: tuple[Label, ...]


def profile_video(
    bundle: Path,
    video: str,
    options: ProfileOptions,
    *,
    command: str = "",
    progress: Callable[[float], None] = lambda seconds: None,
) -> ProfileRun:
    """Run for a while and count everything; Ctrl-C ends the run and keeps what was counted.

    Args:
        bundle: The bundle.
        video: Anything that :func:`edge_vseg.video.open_source` takes.
        options: How.
        command: The command line, for provenance.
        progress: Told how many seconds have passed.

    Raises:
        BackendMissingError: If the extra ``profile`` is not installed.
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no graph can be opened.
        VideoError: If the video cannot be read.
        NoFramesError: If fewer than three frames came.
        OptionError: If the graph lacks what the policy needs.
    """
    policy, sensors = options.policy, Sensors()
    feed = find_feed(video, rate=options.rate, flat_out=options.flat_out, codec_motion=options.codec_motion)
    try:
        begin = time.perf_counter()
        with Segmenter.open(
            bundle,
            runtime=options.runtime,
            precision=options.precision,
            threads=options.threads,
            provider=options.provider,
            policy=policy or "",
        ) as segmenter:
            open_ms = (time.perf_counter() - begin) * 1e3
            budget = policy.milliseconds if isinstance(policy, Budget) else None
            recorder = Recorder(budget or (1e3 / feed.rate if feed.rate else None), options.seconds)
            operators: list[Operator] = []
            without = "" if options.operators else "not asked for"
            if options.operators:
                needs = policy.needs if policy else ""
                operators, without = dearest_operators(segmenter.bundle, segmenter.variant, segmenter.options, needs)
            with feed.frames() as frames, Watch(sensors) as watch:
                began = time.monotonic()
                complete = _segment(segmenter, frames, recorder, options.seconds, progress)
                took = time.monotonic() - began
            variant, provider, opened = segmenter.variant, segmenter.provider, segmenter.bundle
            machine = describe_machine(sensors, variant.runtime)
    finally:
        feed.close()
    latency, age, change = (each.quantiles() for each in (recorder.latency, recorder.age, recorder.change))
    if latency is None or age is None or change is None or recorder.first_ms is None:
        raise NoFramesError(
            f"{video}: fewer than three frames came in {took:.1f} s; give a longer video or more --seconds"
        )
    steps = {"decode": feed.decode, **recorder.steps}
    profile = Profile(
        bundle=str(bundle),
        bundle_sha256=opened.sha256,
        variant=variant.id,
        provider=provider,
        policy="" if policy is None else repr(policy),
        video=feed.name,
        rate=feed.rate,
        budget_ms=budget,
        limit_ms=recorder.limit_ms,
        seconds=took,
        complete=complete,
        rounds=feed.rounds,
        frames=recorder.frames,
        dropped=recorder.dropped,
        open_ms=open_ms,
        first_ms=recorder.first_ms,
        latency_ms=latency,
        age_ms=age,
        change_ms=change,
        steps_ms={name: found for name, each in steps.items() if (found := each.quantiles())},
        sources=dict(recorder.sources),
        oldest_frames=recorder.oldest_frames,
        missed=recorder.misses.count,
        causes=dict(recorder.misses.causes.most_common()),
        worst=recorder.misses.worst(),
        minutes=list(recorder.minutes),
        timeline=list(recorder.seconds),
        last=list(recorder.last),
        curve=recorder.latency.curve(),
        readings=watch.readings,
        memory=watch.memory(),
        energy_j={rail: watts * took / recorder.frames for rail, watts in watch.watts.items()},
        operators=operators,
        without_operators=without,
        overhead=recorder.spent_ms / max(1e-9, latency.mean * latency.count),
        machine=machine,
        command=command,
    )
    return ProfileRun(profile=profile, shots=tuple(recorder.shots), labels=opened.manifest.labels)


def _segment(
    segmenter: Segmenter, frames: Source, recorder: Recorder, seconds: float, progress: Callable[[float], None]
) -> bool:
    """Whether it ran to its end; a source that ends by itself does not count as that."""
    began = time.monotonic()
    try:
        for frame in frames:
            result = segmenter(frame)
            at_s = time.monotonic() - began
            recorder.add(frame.image, result, at_s)
            if at_s >= seconds:
                return True
            progress(at_s)
    except KeyboardInterrupt:
        pass
    return False
