"""The demo's HTML report: every graph, and one of them under a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_vseg.analysis.evaluation import VariantScore
from edge_vseg.analysis.percentiles import cumulative_curve
from edge_vseg.analysis.provenance import versions
from edge_vseg.analysis.report import Block, Cell, Note, Section, Table, write_page
from edge_vseg.analysis.report.example_frames import ExampleFrame, example_pictures
from edge_vseg.analysis.report.plots import Point, decision_strip, iou_bars, latency_cdf, pareto
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.demo.live_comparison import DEADLINE, LiveRuns
from edge_vseg.runtimes.cpu import cpu_features

EXAMPLES = 4


def write_demo_page(path: Path, bundle: Bundle, scores: Sequence[VariantScore], runs: LiveRuns) -> None:
    """Write the demo's report as one HTML file.

    Args:
        path: The file to write.
        bundle: The exported bundle.
        scores: Accuracy and speed of every graph.
        runs: One graph, slower than the camera, live.

    Raises:
        OptionError: If the file cannot be written.
    """
    labels = bundle.manifest.labels
    sections = [
        Section(title="Live, with a network slower than the camera", blocks=_live_section(runs)),
        Section(title="Frames of the live run with a deadline", blocks=_example_section(runs, labels)),
        Section(title="Every graph on every frame", blocks=_graphs_section(scores)),
    ]
    if any(score.miou is not None for score in scores):
        sections.append(Section(title="IoU by class and graph", blocks=_classes_section(scores, labels)))
    sections.append(Section(title="Provenance", blocks=_provenance_section(bundle, runs.comparison.variant)))
    subtitle = (
        f"{bundle.manifest.source.name} on {runs.comparison.frames} frames; {cpu_features().model}."
        f" Export, calibration and worst frames: see {bundle.root.name}/report.html"
    )
    write_page(path, "edge_vseg demo", subtitle, sections)


def _live_section(runs: LiveRuns) -> tuple[Block, ...]:
    about = runs.comparison
    height, width = about.size_hw
    truth = "the truth" if about.labelled else "every-frame inference"
    note = Note(
        text=(
            f"{about.variant} at {width}x{height} on {about.threads} thread takes {about.network_ms:.0f} ms for a"
            f" frame, {about.periods:.1f} frame periods at {about.rate:g} frames per second. Streaming mIoU compares"
            f" what is on the screen {about.deadline_ms:g} ms after each frame with {truth} of that frame. Latency is"
            " from the arrival of a frame to its own map; a frame without one by then is a miss."
        )
    )
    rows = [
        (
            run.name,
            f"{run.streaming_miou:.2%}",
            *(f"{value:.1f}" for value in (run.latency.p50, run.latency.p99)),
            *(f"{share:.1%}" for share in (run.misses, run.dropped)),
            f"{run.age_ms:.0f}",
        )
        for run in about.runs
    ]
    if about.every_frame_miou is not None:
        rows.append(("every frame inferred, without a clock", f"{about.every_frame_miou:.2%}", *[""] * 5))
    head = ("", "streaming mIoU", "median ms", "p99 ms", "misses", "dropped", "mean age, ms")
    scored = {
        name: [answer for answer in given if answer.seq in runs.clip.scored] for name, given in runs.answers.items()
    }
    curves = {
        name: cumulative_curve([answer.latency_ms for answer in given]) for name, given in scored.items() if given
    }
    decisions = [(answer.result.decision.summary, answer.latency_ms) for answer in scored[DEADLINE]]
    plots = (latency_cdf(curves, about.deadline_ms), decision_strip(decisions, about.deadline_ms)) if decisions else ()
    return (Table.of(head, rows), note, *plots)


def _example_section(runs: LiveRuns, labels: Sequence[Label]) -> tuple[Block, ...]:
    answers = [answer for answer in runs.answers[DEADLINE] if answer.seq in runs.clip.scored]
    chosen = answers[:: max(1, len(answers) // EXAMPLES)][:EXAMPLES]
    return tuple(
        example_pictures(
            ExampleFrame(
                image=runs.clip.images[answer.seq],
                result=answer.result,
                when=f"frame {answer.seq}",
                truth=runs.truths[answer.seq] if runs.comparison.labelled else None,
            ),
            labels,
        )
        for answer in chosen
    )


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


def _provenance_section(bundle: Bundle, variant: str) -> tuple[Block, ...]:
    runtime = bundle.manifest.variant(variant).runtime
    facts = {
        "bundle": f"{bundle.root.name}, sha256 {bundle.sha256}",
        "processor": cpu_features().model,
        "versions": ", ".join(f"{name} {version}" for name, version in versions(runtime).items()),
        "made with": ", ".join(f"{name} {version}" for name, version in bundle.manifest.made_with.items()),
    }
    return (Table.of(("", ""), [(name, Cell(text=text, prose=True)) for name, text in facts.items()]),)
