"""Run a bundle on a video, at a camera's rate or as fast as possible, and measure everything."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_vseg.analysis.cpu_use import CpuMeter
from edge_vseg.analysis.profiling.autosave import AUTOSAVE_INTERVAL_S, Autosave
from edge_vseg.analysis.profiling.frame_feed import FrameFeed, open_feed
from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, OperatorLatency
from edge_vseg.analysis.profiling.machine import describe_machine
from edge_vseg.analysis.profiling.recorder import Recorder
from edge_vseg.analysis.profiling.sensor_monitor import SensorMonitor
from edge_vseg.analysis.profiling.sensors import Sensors
from edge_vseg.analysis.profiling.slowest_operators import slowest_operators
from edge_vseg.analysis.report.example_frames import ExampleFrame
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import EdgeVsegError, NoFramesError, OptionError
from edge_vseg.motion.optical_flow import CODEC
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.scheduling.policies import Policy, limits_of
from edge_vseg.segmenter import Segmenter
from edge_vseg.signals import defer_interrupt
from edge_vseg.types import Frame, Image
from edge_vseg.video import Source

INTERRUPTED = "stopped with Ctrl-C"
UNFINISHED = "it was still running when this was saved"
MIN_FRAMES = 2
WARM_UP_FRAMES = 2
IN_FLIGHT_FRAMES = 2
"""Frames on their way when a run ends; they are not missing."""
GRACE_S = 2.0
"""How long after the end of a run a silent source is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions(RuntimeOptions):
    """How to profile, and what to open (:class:`~edge_vseg.analysis.runtime_options.RuntimeOptions`).

    Attributes:
        policy: What schedules frames; ``None`` is the bundle's own, or the whole network on every frame.
        seconds: Length of the run; a shorter recording starts again.
        rate: Frames per second that arrive; ``None`` for the video's own. Not for a camera or stream.
        flat_out: Read a recording as fast as its frames are segmented, instead of at a rate.
        operators: Ask the runtime's own profiler for the slowest operators before the run.
        codec_motion: Whether frames must carry the motion vectors of their codec; always if the policy needs them.
    """

    policy: Policy | None = None
    seconds: float = 60.0
    rate: float | None = None
    flat_out: bool = False
    operators: bool = True
    codec_motion: bool = False

    def __post_init__(self) -> None:
        """Raise OptionError if a value is impossible."""
        if not 0 < self.seconds < math.inf:
            raise OptionError(f"seconds must be positive, got {self.seconds}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise OptionError(f"rate must be positive, in frames per second, got {self.rate}")
        if self.flat_out and self.rate is not None:
            raise OptionError("a rate and flat_out contradict each other; leave out --rate or --flat-out")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileRun:
    """A profile, and what else its report shows.

    Attributes:
        profile: The figures.
        examples: Example frames with their results.
        labels: The bundle's classes.
    """

    profile: LatencyProfile
    examples: tuple[ExampleFrame, ...]
    labels: tuple[Label, ...]


def profile_video(
    bundle: Path,
    video: str,
    options: ProfileOptions,
    *,
    command: str = "",
    progress: Callable[[float], None] = lambda seconds: None,
    autosave: Callable[[LatencyProfile], None] | None = None,
) -> ProfileRun:
    """Run a bundle on a video for a while and measure everything.

    Ctrl-C, or a camera that is lost, ends the run and keeps its figures.

    Args:
        bundle: The bundle.
        video: Anything that :func:`edge_vseg.video.open_source` takes.
        options: How to profile.
        command: The command line, for provenance.
        progress: Called with the seconds that have passed.
        autosave: Called about once a minute, in a thread, with the profile so far, which is not ``complete``.

    Raises:
        BackendMissingError: If the extra ``profile`` is not installed.
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no graph can be opened.
        VideoError: If the video cannot be read from the beginning.
        NoFramesError: If fewer than two frames arrived.
        OptionError: If the variant lacks what the policy needs.
    """
    options, policy = options.with_own_schedule(bundle, options.policy)
    codec = options.codec_motion or (policy is not None and policy.motion == CODEC)
    options, sensors = replace(options, policy=policy, codec_motion=codec), Sensors()
    feed = open_feed(video, rate=options.rate, flat_out=options.flat_out, codec_motion=options.codec_motion)
    start = time.perf_counter()
    with contextlib.closing(feed), options.open_segmenter(bundle, policy) as segmenter:
        open_ms = (time.perf_counter() - start) * 1e3
        deadline = limits_of(policy).deadline_ms if policy is not None else None
        operators, without_operators = _operators(segmenter, options)
        first_ms = _warm_up(segmenter, feed.sample)
        recorder = Recorder(deadline or (1e3 / feed.rate if feed.rate else None), options.seconds)
        machine = describe_machine(sensors, segmenter.variant.runtime)
        monitor = SensorMonitor(sensors)
        cores = usable_cores()
        cpu = CpuMeter(cores, min(options.threads or cores, cores), time.process_time)

        schedule = options.schedule_text(policy)

        def profile(took_s: float, stopped: str) -> LatencyProfile:
            recorder.flush()
            return LatencyProfile(
                bundle=str(bundle),
                bundle_sha256=segmenter.bundle.sha256,
                variant=segmenter.variant.id,
                provider=segmenter.provider,
                threads=options.threads,
                policy=schedule,
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
                without_operators=without_operators,
                machine=machine,
                command=command,
                cpu_share=cpu.share,
                process_cpu_share=cpu.process_share,
                **_figures(recorder, monitor, feed, took_s),
            )

        saver = Autosave(autosave, AUTOSAVE_INTERVAL_S)
        with contextlib.closing(saver), feed.frames() as frames, monitor:
            started = time.monotonic()

            def update(seconds: float) -> None:
                progress(seconds)
                saver.update(seconds, lambda: profile(seconds, UNFINISHED))

            stopped = _segment(segmenter, frames, recorder, cpu, options.seconds, update)
            took_s = time.monotonic() - started
        finished = profile(took_s, stopped)
        labels = segmenter.bundle.manifest.labels
    return ProfileRun(profile=finished, examples=tuple(recorder.examples), labels=labels)


def _warm_up(segmenter: Segmenter, image: Image) -> float:
    """Segment a frame before the run, because runtimes allocate in their first runs; the first latency in ms."""
    results = [
        segmenter(Frame(image=image, seq=seq, capture_ns=time.monotonic_ns())) for seq in range(-WARM_UP_FRAMES, 0)
    ]
    return results[0].latency_ms["total"]


def _missing(feed: FrameFeed, recorder: Recorder, took_s: float) -> int:
    """Frames of a recording that never arrived, because the machine cannot decode them in time."""
    if feed.pace != "recording" or feed.rate is None:
        return 0
    return max(0, int(took_s * feed.rate) - IN_FLIGHT_FRAMES - recorder.frames - recorder.dropped)


def _operators(segmenter: Segmenter, options: ProfileOptions) -> tuple[list[OperatorLatency], str]:
    if not options.operators:
        return [], "not requested"
    needs = options.policy.needs if options.policy else ""
    return slowest_operators(segmenter.bundle, segmenter.variant, segmenter.session_options, needs)


def _figures(recorder: Recorder, monitor: SensorMonitor, feed: FrameFeed, took_s: float) -> dict[str, Any]:
    """What was counted, as fields of :class:`LatencyProfile`."""
    latency, age, change = (sketch.percentiles() for sketch in (recorder.latency, recorder.age, recorder.change))
    if latency is None or age is None or change is None:
        raise NoFramesError(
            f"{feed.name}: fewer than two frames arrived in {took_s:.1f} s; give a longer video or more --seconds"
        )
    steps = {"decode": feed.decode, **recorder.steps}
    return {
        "frames": recorder.frames,
        "dropped": recorder.dropped,
        "lanes": recorder.lanes.seconds(),
        "latency_ms": latency,
        "age_ms": age,
        "change_ms": change,
        "steps_ms": {name: values for name, sketch in steps.items() if (values := sketch.percentiles())},
        "sources": dict(recorder.sources),
        "oldest_frames": recorder.oldest_frames,
        "missed": recorder.misses.count,
        "causes": dict(recorder.misses.causes.most_common()),
        "worst": recorder.misses.worst(),
        "minutes": list(recorder.minutes),
        "timeline": list(recorder.seconds),
        "last": list(recorder.last),
        "curve": recorder.latency.curve(),
        "readings": list(monitor.readings),
        "memory": monitor.memory(),
        "energy_j": {rail: watts * took_s / recorder.frames for rail, watts in monitor.watts.items()},
        "overhead": recorder.overhead_ms / max(1e-9, latency.mean * latency.count),
    }


def _segment(
    segmenter: Segmenter,
    frames: Source,
    recorder: Recorder,
    cpu: CpuMeter,
    seconds: float,
    progress: Callable[[float], None],
) -> str:
    """Segment frames until the time is over; what ended the run early, empty if nothing did.

    Raises:
        EdgeVsegError: If the source or the runtime fails before the second frame.
    """
    started = last = time.monotonic()
    # Without frames the loop below cannot look at the clock, so a timer ends the run of a camera that hangs.
    watchdog = threading.Timer(seconds + GRACE_S, frames.close)
    watchdog.daemon = True
    watchdog.start()
    cpu.begin(time.monotonic_ns())
    try:
        for frame in frames:
            recorder.begin()
            result = segmenter(frame)
            last = time.monotonic()
            with defer_interrupt():
                recorder.add(frame.image, result, last - started)
                cpu.add(result)
            if last - started >= seconds:
                return ""
            progress(last - started)
    except KeyboardInterrupt:
        return INTERRUPTED
    except EdgeVsegError as exc:
        if recorder.frames < MIN_FRAMES:
            raise
        return str(exc)
    finally:
        watchdog.cancel()
        cpu.end(time.monotonic_ns())
    silent_s = time.monotonic() - last
    return f"no frame arrived for {silent_s:.1f} s" if silent_s > GRACE_S else "the source ended"
