"""Run a bundle on a video, at a camera's pace or flat out, and count everything."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vseg.analysis.profiling.autosave import AUTOSAVE_INTERVAL_S, Autosave
from edge_vseg.analysis.profiling.frame_feed import Feed, find_feed
from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, SlowOperator
from edge_vseg.analysis.profiling.machine import describe_machine
from edge_vseg.analysis.profiling.recorder import FrameRecord, Recorder
from edge_vseg.analysis.profiling.sensor_monitor import Watch
from edge_vseg.analysis.profiling.sensors import Sensors
from edge_vseg.analysis.profiling.slowest_operators import slowest_operators
from edge_vseg.bundle.manifest import Label, Precision
from edge_vseg.errors import EdgeVsegError, NoFramesError, OptionError
from edge_vseg.scheduling.policies import Deadline, Policy
from edge_vseg.segmenter import OpenOptions, Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.types import Frame, Image
from edge_vseg.video import Source

INTERRUPTED = "stopped with Ctrl-C"
UNFINISHED = "it was still running when this was written"
MIN_FRAMES = 2
WARM_UPS = 2
SLACK_FRAMES = 2
"""On their way when the run ends."""
GRACE_S = 2.0


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

    profile: LatencyProfile
    shots: tuple[FrameRecord, ...]
    labels: tuple[Label, ...]


def profile_video(
    bundle: Path,
    video: str,
    options: ProfileOptions,
    *,
    command: str = "",
    progress: Callable[[float], None] = lambda seconds: None,
    keep: Callable[[LatencyProfile], None] | None = None,
) -> ProfileRun:
    """Run for a while and count everything; Ctrl-C or a camera that is lost ends the run and keeps what was counted.

    Args:
        bundle: The bundle.
        video: Anything that :func:`edge_vseg.video.open_source` takes.
        options: How.
        command: The command line, for provenance.
        progress: Told how many seconds have passed.
        keep: Gets, about once a minute and in a thread, what was counted so far: a profile that is not ``complete``.

    Raises:
        BackendMissingError: If the extra ``profile`` is not installed.
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no graph can be opened.
        VideoError: If the video cannot be read from the beginning.
        NoFramesError: If fewer than two frames came.
        OptionError: If the graph lacks what the policy needs.
    """
    policy, sensors = options.policy, Sensors()
    feed = find_feed(video, rate=options.rate, flat_out=options.flat_out, codec_motion=options.codec_motion)
    begin = time.perf_counter()
    with (
        contextlib.closing(feed),
        Segmenter.open(
            bundle,
            runtime=options.runtime,
            policy=policy,
            threads=options.threads,
            options=OpenOptions(precision=options.precision, provider=options.provider),
        ) as segmenter,
    ):
        open_ms = (time.perf_counter() - begin) * 1e3
        deadline = policy.milliseconds if isinstance(policy, Deadline) else None
        operators, without = _operators(segmenter, options)
        first_ms = _warm_up(segmenter, feed.sample)
        recorder = Recorder(deadline or (1e3 / feed.rate if feed.rate else None), options.seconds)
        machine = describe_machine(sensors, segmenter.variant.runtime)
        watch = Watch(sensors)

        def profile(took_s: float, stopped: str) -> LatencyProfile:
            recorder.settle()
            return LatencyProfile(
                bundle=str(bundle),
                bundle_sha256=segmenter.bundle.sha256,
                variant=segmenter.variant.id,
                provider=segmenter.provider,
                threads=options.threads,
                policy="" if policy is None else repr(policy),
                video=feed.name,
                pace=feed.pace,
                rate=feed.rate,
                missing=_missing(feed, recorder, took_s),
                first_ms=first_ms,
                deadline_ms=deadline,
                limit_ms=recorder.limit_ms,
                seconds=took_s,
                complete=not stopped,
                stopped=stopped,
                rounds=feed.rounds,
                open_ms=open_ms,
                operators=operators,
                without_operators=without,
                machine=machine,
                command=command,
                **_figures(recorder, watch, feed, took_s),
            )

        keeper = Autosave(keep, AUTOSAVE_INTERVAL_S)
        with contextlib.closing(keeper), feed.frames() as frames, watch:
            began = time.monotonic()

            def passed(seconds: float) -> None:
                progress(seconds)
                keeper.offer(seconds, lambda: profile(seconds, UNFINISHED))

            stopped = _segment(segmenter, frames, recorder, options.seconds, passed)
            took_s = time.monotonic() - began
        finished = profile(took_s, stopped)
        labels = segmenter.bundle.manifest.labels
    return ProfileRun(profile=finished, shots=tuple(recorder.shots), labels=labels)


def _warm_up(segmenter: Segmenter, image: Image) -> float:
    """Run a frame before the others come, for runtimes allocate in the first runs; milliseconds of the first one."""
    results = [segmenter(Frame(image=image, seq=seq, capture_ns=time.monotonic_ns())) for seq in range(-WARM_UPS, 0)]
    return results[0].latency_ms["total"]


def _missing(feed: Feed, recorder: Recorder, took_s: float) -> int:
    """Frames of a recording that were due and never came, for the machine cannot decode them in time."""
    if feed.pace != "recording" or feed.rate is None:
        return 0
    return max(0, int(took_s * feed.rate) - SLACK_FRAMES - recorder.frames - recorder.dropped)


def _operators(segmenter: Segmenter, options: ProfileOptions) -> tuple[list[SlowOperator], str]:
    if not options.operators:
        return [], "not asked for"
    needs = options.policy.needs if options.policy else ""
    return slowest_operators(segmenter.bundle, segmenter.variant, segmenter.session_options, needs)


def _figures(recorder: Recorder, watch: Watch, feed: Feed, took_s: float) -> dict[str, Any]:
    """What was counted, as fields of a profile."""
    latency, age, change = (each.quantiles() for each in (recorder.latency, recorder.age, recorder.change))
    if latency is None or age is None or change is None:
        raise NoFramesError(
            f"{feed.name}: fewer than two frames came in {took_s:.1f} s; give a longer video or more --seconds"
        )
    steps = {"decode": feed.decode, **recorder.steps}
    return {
        "frames": recorder.frames,
        "dropped": recorder.dropped,
        "latency_ms": latency,
        "age_ms": age,
        "change_ms": change,
        "steps_ms": {name: found for name, each in steps.items() if (found := each.quantiles())},
        "sources": dict(recorder.sources),
        "oldest_frames": recorder.oldest_frames,
        "missed": recorder.misses.count,
        "causes": dict(recorder.misses.causes.most_common()),
        "worst": recorder.misses.worst(),
        "minutes": list(recorder.minutes),
        "timeline": list(recorder.seconds),
        "last": list(recorder.last),
        "curve": recorder.latency.curve(),
        "readings": list(watch.readings),
        "memory": watch.memory(),
        "energy_j": {rail: watts * took_s / recorder.frames for rail, watts in watch.watts.items()},
        "overhead": recorder.spent_ms / max(1e-9, latency.mean * latency.count),
    }


def _segment(
    segmenter: Segmenter, frames: Source, recorder: Recorder, seconds: float, progress: Callable[[float], None]
) -> str:
    """What stopped it before its end; empty if it got there.

    Raises:
        EdgeVsegError: If the source or the runtime fails before there is anything to keep.
    """
    began = last = time.monotonic()
    # A camera that hangs gives no frame after which the clock could be looked at.
    alarm = threading.Timer(seconds + GRACE_S, frames.close)
    alarm.daemon = True
    alarm.start()
    try:
        for frame in frames:
            recorder.begin()
            result = segmenter(frame)
            last = time.monotonic()
            with defer_interrupt():
                recorder.add(frame.image, result, last - began)
            if last - began >= seconds:
                return ""
            progress(last - began)
    except KeyboardInterrupt:
        return INTERRUPTED
    except EdgeVsegError as exc:
        if recorder.frames < MIN_FRAMES:
            raise
        return str(exc)
    finally:
        alarm.cancel()
    silent_s = time.monotonic() - last
    return f"no frame came for {silent_s:.1f} s" if silent_s > GRACE_S else "the source came to its end"
