"""What a profile holds: plain values, written as JSON and read again for comparisons."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_vseg.analysis.profiling.deadline_misses import LateFrame
from edge_vseg.analysis.profiling.durations import Quantiles
from edge_vseg.analysis.profiling.timeline import Interval
from edge_vseg.errors import OptionError

SCHEMA = 2


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured on.

    Attributes:
        cpu: Model of the processor.
        facts: Kernel, governor and the like, and which sensors there are.
        versions: Of this package and what it runs on.
    """

    cpu: str
    facts: dict[str, str]
    versions: dict[str, str]


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine at a moment.

    Attributes:
        at_s: Seconds from the beginning of the run.
        rss_mb: Resident memory of the process.
        cpu_percent: By core, of all processes, since the reading before.
        process_cpu_percent: Of this process; 100 is one core.
        frequency_mhz: By core; empty where the machine does not tell.
        temperature_c: By sensor.
        throttled: Why the processor is slowed down; empty if it is not, or the machine does not tell.
        power_w: By rail, mean since the reading before.
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
        first: At the beginning, with the graphs open.
        last: At the end.
        max: The largest.
        slope_per_hour: MB an hour by least squares, the first 150 s or the first tenth left out; ``None`` for runs
            below ten minutes.
    """

    first: float
    last: float
    max: float
    slope_per_hour: float | None


class SlowOperator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator as the runtime's own profiler has it; ``share`` is of its part."""

    part: str
    name: str
    kind: str
    ms: float
    share: float


class LatencyProfile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="profile"
):
    """Everything that ``edge-vseg profile`` finds.

    Attributes:
        schema: Of this file.
        bundle: Path of the bundle.
        bundle_sha256: Of its manifest.
        variant: The graph that ran.
        provider: Where it ran.
        threads: Worker threads that were asked for; 0 is the runtime's choice.
        policy: The policy with its parameters; empty for every frame by itself.
        video: The source.
        pace: ``recording`` at a rate, ``flat-out``, or ``camera`` for what has a pace of its own.
        rate: Frames a second that should come; ``None`` for ``flat-out``, and for a camera that does not tell.
        missing: Frames of a recording that were due and never came, for the machine cannot decode it in time.
        deadline_ms: The policy's deadline.
        limit_ms: What misses are counted against: the deadline, or the time between two frames; ``None`` for neither.
        seconds: How long it ran.
        complete: Whether it ran as long as it was told to.
        stopped: What ended it before; empty if nothing did.
        rounds: Times that the video began anew.
        frames: Frames segmented.
        dropped: Frames that came while it was busy.
        open_ms: Opening the bundle.
        first_ms: The very first frame, before the run; it is part of no other figure.
        latency_ms: Image to label map.
        age_ms: Capture to label map.
        change_ms: Jitter: how much a frame's latency differs from that of the frame before.
        steps_ms: By step; ``decode`` is what the reading thread waited for the decoder, which has threads of its own.
        sources: Frames by where their labels came from.
        oldest_frames: Largest age of a label map.
        missed: Frames over the limit.
        causes: What made them late.
        worst: The worst of them.
        minutes: The run by minute.
        timeline: The same, in finer intervals.
        last: The last frames: what was done, and milliseconds.
        curve: The cumulative distribution of the latency: milliseconds, and share of frames.
        readings: The machine, about once a second.
        memory: Resident memory.
        energy_j: Joules a frame by rail, the machine's whole power; empty where it does not tell.
        operators: The dearest operators of every part.
        without_operators: Why there are none; empty if there are.
        overhead: Share of the frames' time that counting them took; the thread that reads sensors comes on top.
        machine: What was measured on.
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
    latency_ms: Quantiles
    age_ms: Quantiles
    change_ms: Quantiles
    steps_ms: dict[str, Quantiles]
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
    operators: list[SlowOperator]
    without_operators: str
    overhead: float
    machine: Machine
    command: str

    @property
    def miss_share(self) -> float | None:
        """Share of the frames over the limit; ``None`` without one."""
        return None if self.limit_ms is None else self.missed / max(1, self.frames)

    def to_json(self) -> bytes:
        """The profile as a JSON object."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


class _Header(msgspec.Struct, tag_field="kind", tag="profile"):
    """What every version of the file begins with: read first, because the rest depends on it."""

    schema: int


def say_pace(found: LatencyProfile) -> str:
    """How frames came, for people."""
    if found.pace == "flat-out":
        return "flat out"
    rate = "an unknown rate, so there is no limit" if found.rate is None else f"{found.rate:g} frames a second"
    return f"a {found.pace} at {rate}"


def read_latency_profile(path: Path) -> LatencyProfile:
    """Read a profile that ``edge-vseg profile --json`` wrote.

    Raises:
        OptionError: If it is missing, damaged or no profile.
    """
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Header).schema
        profile = msgspec.json.decode(data, type=LatencyProfile) if schema == SCHEMA else None
    except OSError as exc:
        raise OptionError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise OptionError(f"{path} is no profile: {exc}; make it with edge-vseg profile --json") from exc
    if profile is None:
        raise OptionError(f"{path} has schema {schema}, this version reads {SCHEMA}; profile again")
    return profile
