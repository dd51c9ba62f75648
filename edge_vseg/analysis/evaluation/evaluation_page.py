"""The page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.evaluation.map_quality import compare_quality, percent
from edge_vseg.analysis.evaluation.policy_evaluation import PolicyScore
from edge_vseg.analysis.report import Block, Cell, Facts, Note, Section, Table, write_page
from edge_vseg.analysis.report.blocks import Tone
from edge_vseg.analysis.report.frame_pictures import show_frame, show_truth
from edge_vseg.analysis.report.plots import Point, decision_strip, iou_bars, latency_cdf, pareto
from edge_vseg.bundle.manifest import Label
from edge_vseg.types import Image, LabelMap, Result, describe_decision

SHOWN_EVERY = 4
MAX_PICTURES = 12
STRIP_FRAMES = 240


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExampleFrame:
    """A frame that is shown."""

    number: int
    image: Image
    truth: LabelMap
    result: Result


@dataclass(slots=True, kw_only=True, eq=False)
class ExampleFrames:
    """What a page shows of single frames; give :meth:`add` to :func:`edge_vseg.analysis.evaluation.evaluate_policy`.

    Attributes:
        ours: Milliseconds and what was done, by frame.
        theirs: Milliseconds of every-frame inference.
        shots: Frames to show.
    """

    ours: list[tuple[str, float]] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    shots: list[ExampleFrame] = field(default_factory=list)
    _every: int = SHOWN_EVERY

    def add(self, frame: LabelledFrame, result: Result, every_ms: float) -> None:
        """Take note of a frame."""
        number = len(self.ours)
        self.ours.append((describe_decision(result), result.latency_ms["total"]))
        self.theirs.append(every_ms)
        if number % self._every:
            return
        self.shots.append(ExampleFrame(number=number, image=frame.image.copy(), truth=frame.labels, result=result))
        if len(self.shots) == MAX_PICTURES:  # from all of the video, however long it is
            self.shots, self._every = self.shots[::2], 2 * self._every


def write_evaluation_page(
    path: Path,
    record: Mapping[str, Any],
    score: PolicyScore,
    seen: ExampleFrames,
    labels: Sequence[Label],
    *,
    beside: Sequence[Point] = (),
    plots: Path | None = None,
) -> None:
    """Write an evaluation as one HTML file.

    Args:
        path: Where to.
        record: What :func:`edge_vseg.analysis.evaluation.evaluation_record.record` gives, for the provenance.
        score: The figures.
        seen: What was seen of single frames.
        labels: The classes.
        beside: Other evaluations for the Pareto plot.
        plots: Folder for the plots as PNG files, if they are wanted.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OptionError: If the file cannot be written.
    """
    sections = evaluation_sections(score, seen, labels, beside=beside, plots=plots)
    sections.append(Section(title="Provenance", blocks=_provenance(record)))
    subtitle = f"{score.variant}, {score.frames} frames of {record['data']}; {record['machine']['cpu']}"
    write_page(path, f"{score.policy} against every frame", subtitle, sections)


def evaluation_sections(
    score: PolicyScore,
    seen: ExampleFrames,
    labels: Sequence[Label],
    *,
    beside: Sequence[Point] = (),
    plots: Path | None = None,
) -> list[Section]:
    """What a report says of a policy; see :func:`write_evaluation_page`."""
    sections = [
        Section(title=f"{score.policy} against every frame", blocks=_summary(score, beside, plots)),
        Section(title="How right and how steady", blocks=_quality(score)),
        Section(title="Latency", blocks=_latency(score, seen, plots)),
    ]
    if score.miou is not None:
        sections.append(Section(title="By class", blocks=_classes(score, labels, plots)))
        sections.append(Section(title="By distance from the keyframe", blocks=_distances(score)))
    sections.append(Section(title="Frames", blocks=_frames(seen, labels)))
    return sections


def _summary(score: PolicyScore, beside: Sequence[Point], plots: Path | None) -> tuple[Block, ...]:
    items: list[tuple[str, str, Tone]] = [
        ("mean cost, every frame inferred is 1", f"{score.cost:.2f}", ""),
        ("mean ms a frame", f"{score.timing.mean:.1f}", ""),
        ("the same, every frame inferred", f"{score.every_frame.mean:.1f}", ""),
        ("pixels as every frame has them", f"{score.agreement:.2%}", ""),
        ("frames, mean age of the maps", f"{score.age_frames:.1f}", ""),
        ("frames, the oldest", f"{score.oldest_frames}", ""),
    ]
    if score.misses is not None:
        items.append(
            (f"over {score.deadline_ms:g} ms", f"{score.misses:.1%}", "bad" if score.misses > 0.01 else "good")
        )
    worth, about = 100 * score.fidelity_miou, "mIoU against every frame, %"
    every = 100.0
    if score.miou is not None and score.every_frame_miou is not None:
        items.insert(0, ("mIoU, %", f"{100 * score.miou:.2f}", ""))
        items.insert(1, ("mIoU, every frame inferred", f"{100 * score.every_frame_miou:.2f}", ""))
        worth, every, about = 100 * score.miou, 100 * score.every_frame_miou, "mIoU, %"
    points = [
        Point(name="every frame", cost=1.0, worth=every),
        Point(name=score.policy, cost=score.cost, worth=worth, highlighted=True),
        *beside,
    ]
    return (Facts(items=tuple(items)), pareto(points, "mean cost, every frame inferred is 1", about, plots))


def _quality(score: PolicyScore) -> tuple[Block, ...]:
    ours, theirs = score.quality, score.every_frame_quality
    table = Table.of(("%", score.policy, "every frame"), compare_quality(ours, theirs))
    if ours.streaming_rate is None:
        return (table,)
    text = (
        f"Streaming: at {ours.streaming_rate:g} frames a second the truth of a frame is compared with the newest map"
        f" finished by then, so slow is wrong; {ours.streaming_dropped} frames were never segmented, of every frame's"
        f" inference {theirs.streaming_dropped}. The policy saw every frame all the same: where frames were dropped,"
        " its figure flatters."
    )
    return (table, Note(text=text))


def _latency(score: PolicyScore, seen: ExampleFrames, plots: Path | None) -> tuple[Block, ...]:
    curves = {score.policy: _curve([ms for _, ms in seen.ours]), "every frame": _curve(seen.theirs)}
    names = ("mean", "p50", "p95", "p99", "max")
    rows = [
        (about, *(f"{getattr(timing, name):.2f}" for name in names))
        for about, timing in ((score.policy, score.timing), ("every frame", score.every_frame))
    ]
    return (
        latency_cdf(curves, score.deadline_ms, plots),
        decision_strip(seen.ours[-STRIP_FRAMES:], score.deadline_ms, plots),
        Table.of(("ms", *names), rows),
    )


def _curve(samples: Sequence[float]) -> list[tuple[float, float]]:
    return [(ms, (number + 1) / len(samples)) for number, ms in enumerate(sorted(samples))]


def _classes(score: PolicyScore, labels: Sequence[Label], plots: Path | None) -> tuple[Block, ...]:
    ours, theirs = score.quality.classes, score.every_frame_quality.classes
    bars = {name: [_hundred(ours[name].iou), _hundred(theirs[name].iou)] for name in ours}
    head = ("class", "IoU", "every frame's", "precision", "recall", "Dice", "boundary F")
    rows: list[tuple[str | Cell, ...]] = []
    for label in labels:
        mine = ours[label.name]
        figures = (mine.iou, theirs[label.name].iou, mine.precision, mine.recall, mine.dice, mine.boundary_f)
        rows.append((Cell(text=label.name, swatch=label.color), *(percent(value) for value in figures)))
    return (iou_bars(bars, (score.policy, "every frame"), plots), Table.of(head, rows))


def _distances(score: PolicyScore) -> tuple[Block, ...]:
    found = score.quality.by_distance
    table = Table.of(("frames since", *found), [("mIoU, %", *(percent(value) for value in found.values()))])
    return (Note(text="mIoU of the frames whose labels come from an image so many frames ago."), table)


def _frames(seen: ExampleFrames, labels: Sequence[Label]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for shot in seen.shots[1::2] or seen.shots:
        shown = show_frame(shot.image, shot.result, labels, f"frame {shot.number}")
        blocks.append(show_truth(shown, shot.image, shot.truth, labels))
    return tuple(blocks)


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


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value
