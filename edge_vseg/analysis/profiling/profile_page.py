"""The HTML page of a latency profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.percentiles import Percentiles
from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, OperatorLatency, describe_pace
from edge_vseg.analysis.profiling.profiler import ProfileRun
from edge_vseg.analysis.report import Block, Cell, Facts, Note, Section, Table, write_page
from edge_vseg.analysis.report.example_frames import ExampleFrame, example_pictures
from edge_vseg.analysis.report.plots import (
    LaneBar,
    TimelinePoint,
    decision_strip,
    decision_timeline,
    lane_timeline,
    latency_cdf,
    latency_timeline,
    machine_lines,
    steps_bars,
)
from edge_vseg.bundle.manifest import Label

_OTHER_OPERATORS = 3
"""Operators shown of each graph but the whole one."""
_MAX_GOOD_MISS_SHARE = 0.01
"""More deadline misses than this are shown in red."""
_COLUMNS = ("p50", "p90", "p95", "p99", "p99_9", "max")
_HEAD = ("", "frames", "mean", "p50", "p90", "p95", "p99", "p99.9", "max")


def write_profile_page(path: Path, run: ProfileRun, *, plots: Path | None = None) -> None:
    """Write a profile as one HTML file.

    Args:
        path: The ``.html`` file.
        run: The profile and its example frames.
        plots: Folder that gets the plots as PNG files too; ``None`` for none.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OptionError: If the file cannot be written.
    """
    profile = run.profile
    subtitle = f"{profile.variant} on {profile.provider}, {profile.machine.cpu}; {profile.video}, {_pace(profile)}"
    sections = [
        Section(title="Summary", blocks=_summary(profile)),
        Section(title="Latency", blocks=_latency(profile, plots)),
        Section(title="Policy decisions", blocks=_decisions(profile, plots)),
        Section(title="Both lanes", blocks=_lanes(profile, plots)),
        Section(title="Latency by step", blocks=_steps(profile, plots)),
    ]
    if profile.limit_ms is not None:
        sections.append(Section(title="Deadline misses", blocks=_late(profile)))
    sections += [
        Section(title="Minute by minute", blocks=_minutes(profile)),
        Section(title="Machine", blocks=_machine(profile, plots)),
        Section(title="Slowest operators", blocks=_operators(profile)),
        Section(title="Example frames", blocks=_frames(run.examples, run.labels)),
        Section(title="Provenance", blocks=_provenance(profile)),
    ]
    warning = "" if profile.complete else f"The run ended early, after {profile.seconds:.0f} s: {profile.stopped}. "
    if profile.missing:
        warning += f"{profile.missing} frames never arrived: this machine does not decode the video in time."
    write_page(path, f"{Path(profile.bundle).name}: profile", subtitle, sections, warning=warning)


def _pace(profile: LatencyProfile) -> str:
    return f"{profile.seconds:.0f} s, {describe_pace(profile)}"


def _summary(profile: LatencyProfile) -> tuple[Block, ...]:
    latency, share = profile.latency_ms, profile.miss_share
    items: list[tuple[str, str, str]] = [
        ("frames", f"{profile.frames}", ""),
        ("dropped frames", f"{profile.dropped}", "bad" if profile.dropped else "good"),
        ("median latency", f"{latency.p50:.1f} ms", ""),
        ("p99 latency", f"{latency.p99:.1f} ms", _tone(latency.p99, profile.limit_ms)),
        ("slowest frame", f"{latency.max:.1f} ms", _tone(latency.max, profile.limit_ms)),
        ("jitter, p99", f"{profile.change_ms.p99:.1f} ms", ""),
        ("oldest label map", f"{profile.oldest_frames} frames", ""),
        ("memory at the end", f"{profile.memory.last:.0f} MB", ""),
    ]
    if share is not None:
        limit = "deadline" if profile.deadline_ms is not None else "frame period"
        tone = "bad" if share > _MAX_GOOD_MISS_SHARE else "good"
        items.insert(2, (f"misses of the {limit} of {profile.limit_ms:g} ms", f"{share:.2%}", tone))
    if profile.memory.slope_per_hour is not None:
        items.append(("memory growth", f"{profile.memory.slope_per_hour:+.1f} MB/h", ""))
    items += [(f"energy per frame, {rail}", f"{joules:.2f} J", "") for rail, joules in profile.energy_j.items()]
    return (Facts(items=tuple(items)),)  # type: ignore[arg-type]  # mypy takes the tones for plain strings


def _tone(value: float, limit: float | None) -> str:
    return "" if limit is None else "bad" if value > limit else "good"


def _latency(profile: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    rows = [_row("image to label map", profile.latency_ms), _row("capture to label map", profile.age_ms)]
    rows.append(_row("jitter (frame to frame)", profile.change_ms))
    return (
        latency_cdf({"this run": profile.curve}, profile.limit_ms, plots),
        latency_timeline(_points(profile), profile.limit_ms, plots),
        Table.of(_HEAD, rows),
        Note(
            text=f"In ms. Opening took {profile.open_ms:.0f} ms and the first frame {profile.first_ms:.1f} ms;"
            " no other figure includes them."
        ),
    )


def _points(profile: LatencyProfile) -> list[TimelinePoint]:
    """The timeline, with NaN in intervals without frames."""
    gap = (math.nan, math.nan)
    return [
        TimelinePoint(at_s=each.from_s, p50=p50, max=slowest, decisions=each.decisions)
        for each in profile.timeline
        for p50, slowest in [gap if each.latency_ms is None else (each.latency_ms.p50, each.latency_ms.max)]
    ]


def _decisions(profile: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    total = sum(profile.sources.values())
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in profile.sources.items())
    text = f"{shares}. {profile.policy or 'No policy: the whole network on every frame.'}"
    return (
        decision_timeline(_points(profile), plots),
        decision_strip(profile.last, profile.limit_ms, plots),
        Note(text=text),
    )


def _lanes(profile: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    names = ("worst second", "last second")
    drawn = [
        lane_timeline(
            f"lanes-{name.split()[0]}",
            f"{name}, from {second.from_s:.0f} s",
            [LaneBar(lane=s.lane, step=s.step, start_ms=s.start_ms, end_ms=s.end_ms) for s in second.spans],
            begun_ms=second.begun_ms,
            limit_ms=profile.limit_ms,
            missed_ms=second.missed_ms,
            folder=plots,
        )
        for name, second in zip(names, profile.lanes, strict=False)
        if second.spans
    ]
    note = (
        "Marks at the top: a frame comes (black), and must be answered (red). Red lines: frames over the limit."
        " The frame lane answers, the background runs keyframes beside it."
    )
    if profile.cpu_share is not None and profile.process_cpu_share is not None:
        note += (
            f" Both use {profile.cpu_share:.0%} of all cores, with every thread of the network counted while it runs;"
            f" the processor counts {profile.process_cpu_share:.0%} for this process, decoding included."
        )
    return (*drawn, Note(text=note))


def _steps(profile: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    ranked = dict(sorted(profile.steps_ms.items(), key=lambda item: -item[1].p50 * item[1].count))
    return (
        steps_bars({name: (each.p50, each.p99) for name, each in ranked.items()}, plots),
        Table.of(_HEAD, [_row(name, each) for name, each in ranked.items()]),
        Note(
            text="In ms, over the frames that have the step; largest total first. Decoding is not part of the latency."
        ),
    )


def _late(profile: LatencyProfile) -> tuple[Block, ...]:
    if not profile.worst:
        return (Note(text="None.", tone="good"),)
    causes = [(Cell(text=cause, prose=True), str(count)) for cause, count in profile.causes.items()]
    rows = [
        (
            f"{late.at_s:.1f} s, frame {late.seq}",
            f"{late.total_ms:.1f}",
            Cell(text=late.cause, prose=True),
            Cell(text=late.decision, prose=True),
        )
        for late in profile.worst
    ]
    return (
        Table.of(("cause", "frames"), causes),
        Table.of(("slowest frames", "ms", "cause", "decision"), rows),
    )


def _minutes(profile: LatencyProfile) -> tuple[Block, ...]:
    rows = [
        (
            f"{each.from_s / 60:g} to {each.to_s / 60:.1f}",
            *_cells(each.latency_ms),
            str(each.dropped),
            str(each.missed),
        )
        for each in profile.minutes
    ]
    head = ("minute", *_HEAD[1:], "dropped", "missed")
    return (Table.of(head, rows),)


def _machine(profile: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    series = _sensor_series(profile)
    at_s = [reading.at_s for reading in profile.readings]
    rows = [(name, Cell(text=value, prose=True)) for name, value in profile.machine.facts.items()]
    throttled = sorted({reason for reading in profile.readings for reason in reading.throttled})
    note = (
        Note(text=f"Throttled: {', '.join(throttled)}", tone="bad")
        if throttled
        else Note(text="No throttling reported.")
    )
    return (machine_lines(at_s, series, plots), note, Table.of(("", ""), rows))


def _sensor_series(profile: LatencyProfile) -> dict[str, dict[str, list[float]]]:
    """Sensor readings by unit and name, without sensors that are not available."""
    readings = profile.readings
    series: dict[str, dict[str, list[float]]] = {
        "memory, MB": {"resident": [reading.rss_mb for reading in readings]},
        "processor, %": {"this process": [reading.process_cpu_percent for reading in readings]},
    }
    series["processor, %"] |= _by_core([reading.cpu_percent for reading in readings])
    if clocks := _by_core([reading.frequency_mhz for reading in readings]):
        series["MHz"] = clocks
    for unit, field in (("°C", "temperature_c"), ("W", "power_w")):
        names = sorted({name for reading in readings for name in getattr(reading, field)})
        if names:
            series[unit] = {name: [getattr(r, field).get(name, float("nan")) for r in readings] for name in names}
    return series


def _by_core(rows: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    cores = max((len(row) for row in rows), default=0)
    return {f"core {core}": [row[core] if core < len(row) else math.nan for row in rows] for core in range(cores)}


def _operators(profile: LatencyProfile) -> tuple[Block, ...]:
    if not profile.operators:
        return (Note(text=f"Not available: {profile.without_operators}"),)
    head = ("graph", "operator", "type", "ms", "share of graph")
    parts = dict.fromkeys(each.part for each in profile.operators)
    whole = [each for each in profile.operators if each.part == "whole"]
    others = [
        op
        for part in parts
        if part != "whole"
        for op in [o for o in profile.operators if o.part == part][:_OTHER_OPERATORS]
    ]
    blocks: list[Block] = [Table.of(head, [_operator(each) for each in whole])]
    if others:
        blocks.append(Note(text=f"The {_OTHER_OPERATORS} slowest of each other graph that the policy may run:"))
        blocks.append(Table.of(head, [_operator(each) for each in others]))
    return (
        Note(text="By the runtime's own profiler, in ms per run of the graph, before this profile started."),
        *blocks,
    )


def _operator(operator: OperatorLatency) -> tuple[str | Cell, ...]:
    name = Cell(text=operator.name, prose=True)
    return (operator.part, name, Cell(text=operator.kind, prose=True), f"{operator.ms:.3f}", f"{operator.share:.1%}")


def _frames(examples: Sequence[ExampleFrame], labels: Sequence[Label]) -> tuple[Block, ...]:
    return tuple(example_pictures(example, labels) for example in examples)


def _provenance(profile: LatencyProfile) -> tuple[Block, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in profile.machine.versions.items())
    rows = [
        ("bundle", Cell(text=f"{profile.bundle}, sha256 {profile.bundle_sha256}", prose=True)),
        ("processor", Cell(text=profile.machine.cpu, prose=True)),
        ("versions", Cell(text=versions, prose=True)),
        ("command", Cell(text=profile.command, prose=True)),
        ("overhead", Cell(text=f"counting took {profile.overhead:.2%} of the frames' time", prose=True)),
    ]
    return (Table.of(("", ""), rows),)


def _row(name: str, values: Percentiles) -> tuple[str, ...]:
    return (name, *_cells(values))


def _cells(values: Percentiles | None) -> tuple[str, ...]:
    if values is None:
        return ("",) * 8
    return (str(values.count), f"{values.mean:.2f}", *(f"{getattr(values, name):.2f}" for name in _COLUMNS))
