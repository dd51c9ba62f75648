"""The latency profile: plain values, written as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_vseg.analysis.measurement_reading import FileHeader, read_measurements
from edge_vseg.analysis.percentiles import Percentiles
from edge_vseg.analysis.profiling.deadline_misses import LateFrame
from edge_vseg.analysis.profiling.lane_timeline import LaneSecond
from edge_vseg.analysis.profiling.timeline import Interval

SCHEMA = 3


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine and software of a measurement.

    Attributes:
        cpu: Model of the processor.
        facts: Kernel, frequency governor, available sensors and so on.
        versions: Versions of this package and of what it runs on.
    """

    cpu: str
    facts: dict[str, str]
    versions: dict[str, str]


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reading of the machine's sensors.

    Attributes:
        at_s: Seconds since the start of the run.
        rss_mb: Resident memory of the process.
        cpu_percent: Load by core, of all processes, since the previous reading.
        process_cpu_percent: Load of this process; 100 is one core.
        frequency_mhz: Clock frequency by core; empty if it is not available.
        temperature_c: Temperature by sensor.
        throttled: Why the processor is throttled; empty if it is not, or that is not available.
        power_w: Power by rail, mean since the previous reading.
    """

    at_s: float
    rss_mb: float
    cpu_percent: tuple[float, ...]
    process_cpu_percent: float
    frequency_mhz: tuple[float, ...]
    temperature_c: dict[str, float]
    throttled: tuple[str, ...]
    power_w: dict[str, float]


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Resident memory of the process in MB.

    Attributes:
        first: At the start, with the graphs open.
        last: At the end.
        max: The maximum.
        slope_per_hour: MB per hour by least squares, without the first 150 s or the first tenth; ``None`` for runs
            shorter than ten minutes.
    """

    first: float
    last: float
    max: float
    slope_per_hour: float | None


class OperatorLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time of one operator by the runtime's own profiler.

    Attributes:
        part: The graph: ``whole``, ``tile``, or ``slice 0`` and so on.
        name: The operator's name.
        kind: Its type, such as ``Conv``.
        ms: Milliseconds per run of the graph.
        share: Share of the graph's time.
    """

    part: str
    name: str
    kind: str
    ms: float
    share: float


class LatencyProfile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="profile"
):
    """Everything that ``edge-vseg profile`` measures.

    Attributes:
        schema: Version of this file's format.
        bundle: Path of the bundle.
        bundle_sha256: SHA-256 of its manifest.
        variant: The variant that ran.
        provider: Its execution provider, device or delegate.
        threads: Worker threads that were requested; 0 is the runtime's choice.
        policy: The policy with its parameters; empty without a policy.
        video: The source.
        pace: ``recording`` at a rate, ``flat-out``, or ``camera`` at its own rate.
        rate: Frames per second that should arrive; ``None`` for ``flat-out``, or if a camera does not report it.
        missing: Frames of a recording that never arrived, because the machine cannot decode it in time.
        deadline_ms: The policy's deadline.
        limit_ms: The limit for misses: the deadline, or else the time between two frames; ``None`` for neither.
        seconds: Length of the run.
        complete: Whether it ran as long as requested.
        stopped: What ended it early; empty if nothing did.
        rounds: How often the video started again.
        frames: Frames segmented.
        dropped: Frames that arrived while the segmenter was busy.
        open_ms: Time to open the bundle.
        first_ms: Latency of the first warm-up frame, which no other figure includes.
        latency_ms: Image to label map.
        age_ms: Capture to label map.
        change_ms: Jitter: difference between the latencies of consecutive frames.
        steps_ms: By step; ``decode`` is how long the reader waited for the decoder, which has threads of its own.
        sources: Frames by origin of their labels.
        oldest_frames: Largest age of a label map, in frames.
        missed: Frames over the limit.
        causes: What made them late.
        worst: The latest of them.
        minutes: The run by minute.
        timeline: The run in finer intervals.
        last: The last frames: decision and milliseconds.
        curve: Cumulative distribution of the latency: milliseconds and share of frames.
        readings: Sensor readings, about one per second.
        memory: Resident memory.
        energy_j: Joules per frame by rail, of the whole machine; empty if power is not available.
        operators: The slowest operators of each graph.
        without_operators: Why ``operators`` is empty; empty if it is not.
        lanes: Both lanes of the engine in the worst second, and in the last one.
        cpu_share: Share of the machine's cores that both lanes used, 0 to 1, with all threads of the network counted;
            ``None`` while the run goes on.
        process_cpu_share: Share that the process used by the processor's own count.
        overhead: Share of the frames' time spent on counting, without the thread that reads the sensors.
        machine: The machine and software.
        command: The command line.
    """

    schema: int = SCHEMA
    bundle: str
    bundle_sha256: str
    variant: str
    provider: str
    threads: int
    policy: str
    video: str
    pace: str
    rate: float | None
    missing: int
    deadline_ms: float | None
    limit_ms: float | None
    seconds: float
    complete: bool
    stopped: str
    rounds: int
    frames: int
    dropped: int
    open_ms: float
    first_ms: float
    latency_ms: Percentiles
    age_ms: Percentiles
    change_ms: Percentiles
    steps_ms: dict[str, Percentiles]
    sources: dict[str, int]
    oldest_frames: int
    missed: int
    causes: dict[str, int]
    worst: list[LateFrame]
    minutes: list[Interval]
    timeline: list[Interval]
    last: list[tuple[str, float]]
    curve: list[tuple[float, float]]
    readings: list[Reading]
    memory: MemoryUse
    energy_j: dict[str, float]
    operators: list[OperatorLatency]
    without_operators: str
    overhead: float
    machine: Machine
    command: str
    lanes: list[LaneSecond]
    cpu_share: float | None
    process_cpu_share: float | None

    @property
    def miss_share(self) -> float | None:
        """Share of the frames over the limit; ``None`` without a limit."""
        return None if self.limit_ms is None else self.missed / max(1, self.frames)

    def to_json(self) -> bytes:
        """The profile as JSON, UTF-8."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


class _Header(FileHeader, tag_field="kind", tag="profile"):
    """What every version of the file has."""


def describe_pace(profile: LatencyProfile) -> str:
    """How frames arrived, in words."""
    if profile.pace == "flat-out":
        return "as fast as possible"
    rate = "an unknown rate, so there is no limit" if profile.rate is None else f"{profile.rate:g} frames per second"
    return f"a {profile.pace} at {rate}"


def read_latency_profile(path: Path) -> LatencyProfile:
    """Read a file of ``edge-vseg profile --json``.

    Raises:
        OptionError: If it is missing, damaged or not a latency profile.
    """
    return read_measurements(
        path,
        LatencyProfile,
        _Header,
        schema=SCHEMA,
        wrong="is not a latency profile",
        how="make one with edge-vseg profile --json",
        again="profile again",
    )
