"""The demo's HTML report: every graph, and one of them under a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.evaluation import PolicyScore, VariantScore
from edge_vseg.analysis.evaluation.evaluation_page import evaluation_sections
from edge_vseg.analysis.evaluation.frame_log import FrameLog
from edge_vseg.analysis.provenance import versions
from edge_vseg.analysis.report import Block, Cell, Note, Section, Table, write_page
from edge_vseg.analysis.report.plots import Point, iou_bars, pareto
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.runtimes.cpu import cpu_features


def write_demo_page(
    path: Path, bundle: Bundle, scores: Sequence[VariantScore], scheduled: PolicyScore, examples: FrameLog
) -> None:
    """Write the demo's report as one HTML file.

    Args:
        path: The file to write.
        bundle: The exported bundle.
        scores: Accuracy and speed of every graph.
        scheduled: Accuracy and speed of one graph under a policy.
        examples: Frames of that run to show.

    Raises:
        OptionError: If the file cannot be written.
    """
    labels = bundle.manifest.labels
    sections = [Section(title="Every graph on every frame", blocks=_graphs_section(scores))]
    if any(score.miou is not None for score in scores):
        sections.append(Section(title="IoU by class and graph", blocks=_classes_section(scores, labels)))
    sections += evaluation_sections(scheduled, examples, labels)
    sections.append(Section(title="Provenance", blocks=_provenance_section(bundle, scheduled)))
    subtitle = (
        f"{bundle.manifest.source.name} on {scheduled.frames} frames; {cpu_features().model}."
        f" Export, calibration and worst frames: see {bundle.root.name}/report.html"
    )
    write_page(path, "edge_vseg demo", subtitle, sections)


def _graphs_section(scores: Sequence[VariantScore]) -> tuple[Block, ...]:
    rows = [
        (
            score.variant,
            f"{score.infer_ms:.1f}",
            f"{score.total_ms:.1f}",
            "" if score.speed_up is None else f"{score.speed_up:.2f} x",
            "no ground truth" if score.miou is None else f"{score.miou:.2%}",
            "" if score.agreement is None else f"{score.agreement:.2%}",
        )
        for score in scores
    ]
    head = ("graph", "ms, graph only", "ms, image to label map", "speed-up", "mIoU", "pixels equal to float")
    table = Table.of(head, rows)
    points = [
        Point(name=score.variant, cost=score.total_ms, quality=100 * score.miou, highlighted=score.precision == "int8")
        for score in scores
        if score.miou is not None
    ]
    note = Note(text="Median times. Speed-up is over the float graph of the same runtime; the graphs take turns.")
    if not points:
        return (table, note)
    return (table, note, pareto(points, "ms, image to label map", "mIoU, %", name="graphs"))


def _classes_section(scores: Sequence[VariantScore], labels: Sequence[Label]) -> tuple[Block, ...]:
    present = [label for label in labels if any(label.name in score.iou for score in scores)]
    rows: list[tuple[str | Cell, ...]] = [
        (
            Cell(text=label.name, swatch=label.color),
            *(f"{100 * score.iou[label.name]:.1f}" if label.name in score.iou else "" for score in scores),
        )
        for label in present
    ]
    int8 = [score for score in scores if score.precision == "int8"] or list(scores)
    bars = {
        label.name: [100 * score.iou[label.name] if label.name in score.iou else None for score in int8]
        for label in present
    }
    names = [score.variant for score in scores]
    return (iou_bars(bars, [score.variant for score in int8], name="graphs-iou"), Table.of(("IoU, %", *names), rows))


def _provenance_section(bundle: Bundle, scheduled: PolicyScore) -> tuple[Block, ...]:
    runtime = bundle.manifest.variant(scheduled.variant).runtime
    facts = {
        "bundle": f"{bundle.root.name}, sha256 {bundle.sha256}",
        "processor": cpu_features().model,
        "versions": ", ".join(f"{name} {version}" for name, version in versions(runtime).items()),
        "made with": ", ".join(f"{name} {version}" for name, version in bundle.manifest.made_with.items()),
    }
    return (Table.of(("", ""), [(name, Cell(text=text, prose=True)) for name, text in facts.items()]),)
