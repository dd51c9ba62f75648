"""The page of a profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.profiling.durations import Quantiles
from edge_vseg.analysis.profiling.latency_profile import LatencyProfile, SlowOperator, say_pace
from edge_vseg.analysis.profiling.profiler import ProfileRun
from edge_vseg.analysis.profiling.recorder import FrameRecord
from edge_vseg.analysis.report import Block, Cell, Facts, Note, Section, Table, write_page
from edge_vseg.analysis.report.frame_pictures import show_frame
from edge_vseg.analysis.report.plots import (
    Moment,
    decision_strip,
    decision_timeline,
    latency_cdf,
    latency_timeline,
    machine_lines,
    steps_bars,
)
from edge_vseg.bundle.manifest import Label

_SHOWN = 3
_COLUMNS = ("p50", "p90", "p95", "p99", "p99_9", "max")
_HEAD = ("", "frames", "mean", "p50", "p90", "p95", "p99", "p99.9", "max")


def write_profile_page(path: Path, run: ProfileRun, *, plots: Path | None = None) -> None:
    """Write a profile as one HTML file.

    Args:
        path: Where to.
        run: The profile, and frames to show.
        plots: Folder for the plots as PNG files, if they are wanted.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OptionError: If the file cannot be written.
    """
    found = run.profile
    subtitle = f"{found.variant} on {found.provider}, {found.machine.cpu}; {found.video}, {_pace(found)}"
    sections = [
        Section(title="Summary", blocks=_summary(found)),
        Section(title="Latency", blocks=_latency(found, plots)),
        Section(title="What was done for the frames", blocks=_decisions(found, plots)),
        Section(title="Steps", blocks=_steps(found, plots)),
    ]
    if found.limit_ms is not None:
        sections.append(Section(title="Frames over the limit", blocks=_late(found)))
    sections += [
        Section(title="By minute", blocks=_minutes(found)),
        Section(title="The machine", blocks=_machine(found, plots)),
        Section(title="Dearest operators", blocks=_operators(found)),
        Section(title="Frames", blocks=_frames(run.shots, run.labels)),
        Section(title="Provenance", blocks=_provenance(found)),
    ]
    warning = "" if found.complete else f"It ended after {found.seconds:.0f} s, before its time: {found.stopped}. "
    if found.missing:
        warning += f"{found.missing} frames were due and never came: this machine does not decode the video in time."
    write_page(path, f"{Path(found.bundle).name}: profile", subtitle, sections, warning=warning)


def _pace(found: LatencyProfile) -> str:
    return f"{found.seconds:.0f} s, {say_pace(found)}"


def _summary(found: LatencyProfile) -> tuple[Block, ...]:
    latency, share = found.latency_ms, found.miss_share
    items: list[tuple[str, str, str]] = [
        ("frames", f"{found.frames}", ""),
        ("dropped while busy", f"{found.dropped}", "bad" if found.dropped else "good"),
        ("median ms a frame", f"{latency.p50:.1f}", ""),
        ("p99", f"{latency.p99:.1f} ms", _against(latency.p99, found.limit_ms)),
        ("slowest", f"{latency.max:.1f} ms", _against(latency.max, found.limit_ms)),
        ("jitter, p99 from frame to frame", f"{found.change_ms.p99:.1f} ms", ""),
        ("oldest map", f"{found.oldest_frames} frames", ""),
        ("memory at the end", f"{found.memory.last:.0f} MB", ""),
    ]
    if share is not None:
        named = "deadline" if found.deadline_ms is not None else "time between frames"
        items.insert(
            2, (f"over the {named} of {found.limit_ms:g} ms", f"{share:.2%}", "bad" if share > 0.01 else "good")
        )
    if found.memory.slope_per_hour is not None:
        items.append(("growth of memory", f"{found.memory.slope_per_hour:+.1f} MB/h", ""))
    items += [(f"energy a frame, {rail}", f"{joules:.2f} J", "") for rail, joules in found.energy_j.items()]
    return (Facts(items=tuple(items)),)  # type: ignore[arg-type]  # tones are told by their texts


def _against(value: float, limit: float | None) -> str:
    return "" if limit is None else "bad" if value > limit else "good"


def _latency(found: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    rows = [_row("image to label map", found.latency_ms), _row("capture to label map", found.age_ms)]
    rows.append(_row("change from frame to frame", found.change_ms))
    return (
        latency_cdf({"this run": found.curve}, found.limit_ms, plots),
        latency_timeline(_moments(found), found.limit_ms, plots),
        Table.of(_HEAD, rows),
        Note(
            text=f"In ms. The first frame took {found.first_ms:.1f} ms and is in no other figure;"
            f" opening took {found.open_ms:.0f} ms."
        ),
    )


def _moments(found: LatencyProfile) -> list[Moment]:
    """With gaps where no frame came."""
    nothing = (math.nan, math.nan)
    return [
        Moment(at_s=each.from_s, p50=p50, max=most, decisions=each.decisions)
        for each in found.timeline
        for p50, most in [nothing if each.latency_ms is None else (each.latency_ms.p50, each.latency_ms.max)]
    ]


def _decisions(found: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    total = sum(found.sources.values())
    shares = ", ".join(f"{name} {count / total:.1%}" for name, count in found.sources.items())
    text = f"{shares}. {found.policy or 'No policy: the whole network on every frame.'}"
    return (
        decision_timeline(_moments(found), plots),
        decision_strip(found.last, found.limit_ms, plots),
        Note(text=text),
    )


def _steps(found: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    ranked = dict(sorted(found.steps_ms.items(), key=lambda item: -item[1].p50 * item[1].count))
    return (
        steps_bars({name: (each.p50, each.p99) for name, each in ranked.items()}, plots),
        Table.of(_HEAD, [_row(name, each) for name, each in ranked.items()]),
        Note(
            text="In ms, over the frames that have the step; dearest first. Decoding is no part of a frame's latency."
        ),
    )


def _late(found: LatencyProfile) -> tuple[Block, ...]:
    if not found.worst:
        return (Note(text="None.", tone="good"),)
    causes = [(Cell(text=cause, prose=True), str(count)) for cause, count in found.causes.items()]
    rows = [
        (
            f"{late.at_s:.1f} s, frame {late.seq}",
            f"{late.total_ms:.1f}",
            Cell(text=late.cause, prose=True),
            Cell(text=late.decision, prose=True),
        )
        for late in found.worst
    ]
    return (
        Table.of(("cause", "frames"), causes),
        Table.of(("worst", "ms", "cause", "decision"), rows),
    )


def _minutes(found: LatencyProfile) -> tuple[Block, ...]:
    rows = [
        (
            f"{each.from_s / 60:g} to {each.to_s / 60:.1f}",
            *_cells(each.latency_ms),
            str(each.dropped),
            str(each.missed),
        )
        for each in found.minutes
    ]
    head = ("minute", *_HEAD[1:], "dropped", "over")
    return (Table.of(head, rows),)


def _machine(found: LatencyProfile, plots: Path | None) -> tuple[Block, ...]:
    series = _sensor_series(found)
    at_s = [reading.at_s for reading in found.readings]
    rows = [(name, Cell(text=value, prose=True)) for name, value in found.machine.facts.items()]
    throttled = sorted({reason for reading in found.readings for reason in reading.throttled})
    note = (
        Note(text=f"Throttled: {', '.join(throttled)}", tone="bad")
        if throttled
        else Note(text="Not throttled, as far as the machine tells.")
    )
    return (machine_lines(at_s, series, plots), note, Table.of(("", ""), rows))


def _sensor_series(found: LatencyProfile) -> dict[str, dict[str, list[float]]]:
    """By unit and name; what the machine does not tell is left out."""
    readings = found.readings
    series: dict[str, dict[str, list[float]]] = {
        "memory, MB": {"resident": [reading.rss_mb for reading in readings]},
        "processor, %": {"this process": [reading.process_cpu_percent for reading in readings]},
    }
    series["processor, %"] |= _by_core([reading.cpu_percent for reading in readings])
    if clocks := _by_core([reading.frequency_mhz for reading in readings]):
        series["MHz"] = clocks
    for unit, of in (("°C", "temperature_c"), ("W", "power_w")):
        names = sorted({name for reading in readings for name in getattr(reading, of)})
        if names:
            series[unit] = {name: [getattr(r, of).get(name, float("nan")) for r in readings] for name in names}
    return series


def _by_core(rows: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    cores = max((len(row) for row in rows), default=0)
    return {f"core {core}": [row[core] if core < len(row) else math.nan for row in rows] for core in range(cores)}


def _operators(found: LatencyProfile) -> tuple[Block, ...]:
    if not found.operators:
        return (Note(text=f"Not available: {found.without_operators}"),)
    head = ("part", "operator", "kind", "ms", "of its part")
    parts = dict.fromkeys(each.part for each in found.operators)
    whole = [each for each in found.operators if each.part == "whole"]
    others = [op for part in parts if part != "whole" for op in [o for o in found.operators if o.part == part][:_SHOWN]]
    blocks: list[Block] = [Table.of(head, [_operator(each) for each in whole])]
    if others:
        blocks.append(Note(text=f"The {_SHOWN} dearest of every other graph that the policy may run:"))
        blocks.append(Table.of(head, [_operator(each) for each in others]))
    return (Note(text="By the runtime's own profiler, in ms a run, before this profile began."), *blocks)


def _operator(found: SlowOperator) -> tuple[str | Cell, ...]:
    name = Cell(text=found.name, prose=True)
    return (found.part, name, Cell(text=found.kind, prose=True), f"{found.ms:.3f}", f"{found.share:.1%}")


def _frames(shots: Sequence[FrameRecord], labels: Sequence[Label]) -> tuple[Block, ...]:
    return tuple(show_frame(shot.image, shot.result, labels, f"{shot.at_s:.1f} s") for shot in shots)


def _provenance(found: LatencyProfile) -> tuple[Block, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in found.machine.versions.items())
    rows = [
        ("bundle", Cell(text=f"{found.bundle}, sha256 {found.bundle_sha256}", prose=True)),
        ("processor", Cell(text=found.machine.cpu, prose=True)),
        ("versions", Cell(text=versions, prose=True)),
        ("command", Cell(text=found.command, prose=True)),
        ("counting", Cell(text=f"took {found.overhead:.2%} of the frames' time", prose=True)),
    ]
    return (Table.of(("", ""), rows),)


def _row(name: str, found: Quantiles) -> tuple[str, ...]:
    return (name, *_cells(found))


def _cells(found: Quantiles | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 8
    return (str(found.count), f"{found.mean:.2f}", *(f"{getattr(found, name):.2f}" for name in _COLUMNS))
