"""The HTML page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_vseg.analysis.evaluation.frame_log import FrameLog
from edge_vseg.analysis.evaluation.map_quality import percent, quality_rows
from edge_vseg.analysis.evaluation.policy_score import PolicyScore
from edge_vseg.analysis.evaluation.rivals import StreamFigures, stream_rows
from edge_vseg.analysis.percentiles import cumulative_curve
from edge_vseg.analysis.report import Block, Cell, Facts, Note, Section, Table, write_page
from edge_vseg.analysis.report.example_frames import example_pictures
from edge_vseg.analysis.report.page_blocks import Tone
from edge_vseg.analysis.report.plots import Point, decision_strip, iou_bars, latency_cdf, pareto
from edge_vseg.bundle.manifest import Label

STRIP_FRAMES = 240
"""Frames in the plot of single frames."""
MAX_GOOD_MISS_SHARE = 0.01
"""More deadline misses than this are shown in red."""


def write_evaluation_page(
    path: Path,
    record: Mapping[str, Any],
    score: PolicyScore,
    log: FrameLog,
    labels: Sequence[Label],
    *,
    beside: Sequence[Point] = (),
    plots: Path | None = None,
) -> None:
    """Write an evaluation as one HTML file.

    Args:
        path: The ``.html`` file.
        record: The evaluation's JSON record, for the provenance.
        score: The figures.
        log: Decisions, latencies and example frames.
        labels: The bundle's classes.
        beside: Other evaluations for the Pareto plot.
        plots: Folder that gets the plots as PNG files too; ``None`` for none.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OptionError: If the file cannot be written.
    """
    sections = evaluation_sections(score, log, labels, beside=beside, plots=plots)
    sections.append(Section(title="Provenance", blocks=_provenance(record)))
    subtitle = f"{score.variant}, {score.frames} frames of {record['data']}; {record['machine']['cpu']}"
    write_page(path, f"{score.policy} against every frame", subtitle, sections)


def evaluation_sections(
    score: PolicyScore,
    log: FrameLog,
    labels: Sequence[Label],
    *,
    beside: Sequence[Point] = (),
    plots: Path | None = None,
) -> list[Section]:
    """The sections of :func:`write_evaluation_page`, for a page of your own."""
    sections = [
        Section(title=f"{score.policy} against every frame", blocks=_summary(score, beside, plots)),
        Section(title="Accuracy and temporal consistency", blocks=_quality(score)),
        Section(title="Latency", blocks=_latency(score, log, plots)),
    ]
    if score.streaming is not None:
        sections.append(Section(title="What is shown in time", blocks=_streams(score, score.streaming)))
    if score.miou is not None:
        sections.append(Section(title="Classes", blocks=_classes(score, labels, plots)))
        sections.append(Section(title="mIoU by age of the labels", blocks=_distances(score)))
    sections.append(Section(title="Example frames", blocks=_frames(log, labels)))
    return sections


def _summary(score: PolicyScore, beside: Sequence[Point], plots: Path | None) -> tuple[Block, ...]:
    items: list[tuple[str, str, Tone]] = [
        ("mean cost (every frame = 1)", f"{score.cost:.2f}", ""),
        ("mean latency", f"{score.timing.mean:.1f} ms", ""),
        ("mean latency, every frame", f"{score.every_frame.mean:.1f} ms", ""),
        ("pixels equal to every frame", f"{score.agreement:.2%}", ""),
        ("mean age of label maps", f"{score.age_frames:.1f} frames", ""),
        ("oldest label map", f"{score.oldest_frames} frames", ""),
    ]
    if score.misses is not None:
        tone: Tone = "bad" if score.misses > MAX_GOOD_MISS_SHARE else "good"
        items.append((f"misses of the deadline of {score.deadline_ms:g} ms", f"{score.misses:.1%}", tone))
    if score.cpu_share is not None:
        items.append(("share of all cores", f"{score.cpu_share:.0%}", ""))
    quality, every, axis = 100 * score.fidelity_miou, 100.0, "mIoU against every frame, %"
    if score.miou is not None and score.every_frame_miou is not None:
        items.insert(0, ("mIoU, %", f"{100 * score.miou:.2f}", ""))
        items.insert(1, ("mIoU, every frame", f"{100 * score.every_frame_miou:.2f}", ""))
        quality, every, axis = 100 * score.miou, 100 * score.every_frame_miou, "mIoU, %"
    points = [
        Point(name="every frame", cost=1.0, quality=every),
        Point(name=score.policy, cost=score.cost, quality=quality, highlighted=True),
        *beside,
    ]
    return (Facts(items=tuple(items)), pareto(points, "mean cost (every frame = 1)", axis, plots))


def _quality(score: PolicyScore) -> tuple[Block, ...]:
    policy, every_frame = score.quality, score.every_frame_quality
    table = Table.of(("%", score.policy, "every frame"), quality_rows(policy, every_frame))
    if policy.streaming_rate is None:
        return (table,)
    text = (
        f"Streaming mIoU compares the truth of each frame, at {policy.streaming_rate:g} frames per second, with the"
        f" newest map finished by then. {policy.streaming_dropped} frames would have been dropped, with every-frame"
        f" inference {every_frame.streaming_dropped}. The policy ran on every frame all the same, so its figure is"
        " optimistic if frames are dropped."
    )
    return (table, Note(text=text))


def _latency(score: PolicyScore, log: FrameLog, plots: Path | None) -> tuple[Block, ...]:
    curves = {
        score.policy: cumulative_curve([ms for _, ms in log.decisions]),
        "every frame": cumulative_curve(log.every_frame_ms),
    }
    names = ("mean", "p50", "p95", "p99", "max")
    rows = [
        (label, *(f"{getattr(timing, name):.2f}" for name in names))
        for label, timing in ((score.policy, score.timing), ("every frame", score.every_frame))
    ]
    return (
        latency_cdf(curves, score.deadline_ms, plots),
        decision_strip(log.decisions[-STRIP_FRAMES:], score.deadline_ms, plots),
        Table.of(("ms", *names), rows),
    )


def _streams(score: PolicyScore, streaming: StreamFigures) -> tuple[Block, ...]:
    when = "when it arrives" if score.deadline_ms is None else f"{score.deadline_ms:g} ms after it arrives"
    text = (
        f"For each frame, the newest map that is finished {when}. The rivals have no scheduler: whenever the network is"
        " free it takes the newest frame, others are dropped, and the last map is held; async has two requests in"
        " flight. Their times are those of every-frame inference."
    )
    head, *rows = stream_rows({score.policy: streaming} | score.rivals)
    return (Table.of(head, rows), Note(text=text))


def _classes(score: PolicyScore, labels: Sequence[Label], plots: Path | None) -> tuple[Block, ...]:
    policy, every_frame = score.quality.classes, score.every_frame_quality.classes
    bars = {name: [_in_percent(policy[name].iou), _in_percent(every_frame[name].iou)] for name in policy}
    head = ("class, %", "IoU", "IoU, every frame", "precision", "recall", "Dice", "boundary F")
    rows: list[tuple[str | Cell, ...]] = []
    for label in labels:
        own, other = policy[label.name], every_frame[label.name]
        figures = (own.iou, other.iou, own.precision, own.recall, own.dice, own.boundary_f)
        rows.append((Cell(text=label.name, swatch=label.color), *(percent(value) for value in figures)))
    return (iou_bars(bars, (score.policy, "every frame"), plots), Table.of(head, rows))


def _distances(score: PolicyScore) -> tuple[Block, ...]:
    miou = score.quality.by_distance
    table = Table.of(("age, frames", *miou), [("mIoU, %", *(percent(value) for value in miou.values()))])
    return (Note(text="mIoU of the frames whose oldest labels were inferred this many frames ago."), table)


def _frames(log: FrameLog, labels: Sequence[Label]) -> tuple[Block, ...]:
    return tuple(example_pictures(example, labels) for example in log.examples[1::2] or log.examples)


def _provenance(record: Mapping[str, Any]) -> tuple[Block, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in record["machine"]["versions"].items())
    facts = {
        "bundle": f"{record['bundle']}, sha256 {record['bundle_sha256']}",
        "policy": record["settings"],
        "processor": record["machine"]["cpu"],
        "versions": versions,
        "command": record["command"],
    }
    return (Table.of(("", ""), [(name, Cell(text=text, prose=True)) for name, text in facts.items()]),)


def _in_percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
