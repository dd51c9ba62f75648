"""The plots of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_vseg.analysis.report.figures import draw
from edge_vseg.analysis.report.page_blocks import Plot
from edge_vseg.scheduling.steps import Step

LIMIT_COLOR = "#d32f2f"
ARRIVAL_COLOR = "#222222"
MAIN, SECOND = "#2f7fd1", "#e07b39"
MARKERS = "os^Dv"
DECISION_COLORS = {
    "inferred": "#3cc83c",
    "infer": "#3cc83c",
    "propagate": "#4a90ff",
    "hold": "#9a9a9a",
    "held": "#9a9a9a",
    "advance, propagate": "#8e6bbf",
    "advance": "#4c9f70",
    "infer tiles": "#e07b39",
    "collect, launch, propagate": "#3c6fc8",
    "launch, propagate": "#3c9fc8",
    "motion": "#c9b037",
    "tile": "#e07b39",
    "fuse": "#c2185b",
    "carry": "#00897b",
    "decide": "#9a9a9a",
    "labels": "#4c9f70",
    "slice": "#8e6bbf",
    "preprocess": "#c08a5a",
}
MIN_BAR_MS = 0.2
"""A shorter step of a timeline would not be seen."""
MAX_LEGEND_LINES = 10
"""Lines with a legend entry in a small plot; there is no room for more."""
SERIES = (MAIN, SECOND, "#4c9f70", "#8e6bbf", "#b0a030", "#808080")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePoint:
    """One interval of a run.

    Attributes:
        at_s: Its start, in seconds since the start of the run.
        p50: Median milliseconds of its frames.
        max: Largest milliseconds.
        decisions: Frames by decision.
    """

    at_s: float
    p50: float
    max: float
    decisions: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneBar:
    """A step in a lane of the frame engine, ``frame`` or ``background``, in ms of the second shown."""

    lane: str
    step: str
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A setting in a Pareto plot: its cost, and the quality of its result."""

    name: str
    cost: float
    quality: float
    highlighted: bool = False


def latency_cdf(
    curves: Mapping[str, Sequence[tuple[float, float]]], limit_ms: float | None, folder: Path | None = None
) -> Plot:
    """Cumulative distribution of the latency, by name of the run: pairs of milliseconds and share of frames."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        for name, curve in curves.items():
            axes.plot([ms for ms, _ in curve], [100 * share for _, share in curve], label=name, drawstyle="steps-post")
        _limit(axes.axvline, limit_ms)
        axes.set(xlabel="latency, ms", ylabel="% of frames", ylim=(0, 101), xlim=(0, None))
        if len(curves) > 1 or limit_ms is not None:
            axes.legend(loc="lower right")

    return draw("latency-cdf", "cumulative distribution of the latency", onto, folder=folder)


def latency_timeline(points: Sequence[TimelinePoint], limit_ms: float | None, folder: Path | None = None) -> Plot:
    """Median and largest latency over the run, with the limit."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        at, unit = _times(points)
        axes.fill_between(at, [p.p50 for p in points], [p.max for p in points], color=MAIN, alpha=0.3, linewidth=0)
        axes.plot(at, [p.max for p in points], color=MAIN, alpha=0.7, linewidth=0.8, label="slowest frame")
        axes.plot(at, [p.p50 for p in points], color=MAIN, linewidth=1.5, label="median")
        _limit(axes.axhline, limit_ms)
        axes.set(xlabel=unit, ylabel="latency, ms", ylim=(0, None))
        axes.margins(x=0)
        _legend_above(figure)

    return draw("latency-timeline", "latency over the run", onto, folder=folder)


def decision_timeline(points: Sequence[TimelinePoint], folder: Path | None = None) -> Plot:
    """Decisions over the run, stacked by share of frames."""
    names = list(dict.fromkeys(name for point in points for name in point.decisions))

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        at, unit = _times(points)
        ends = [*at, at[-1] + (at[-1] - at[-2] if len(at) > 1 else 1)]
        shares = [
            [100 * p.decisions.get(name, 0) / max(1, sum(p.decisions.values())) for p in points] for name in names
        ]
        axes.stackplot(ends, [[*row, row[-1]] for row in shares], labels=names, colors=_colors(names), step="post")
        axes.set(xlabel=unit, ylabel="% of frames", ylim=(0, 100))
        axes.margins(x=0)
        axes.grid(visible=False)
        _legend_above(figure)

    return draw("decision-timeline", "policy decisions over the run", onto, folder=folder)


def decision_strip(last: Sequence[tuple[str, float]], limit_ms: float | None, folder: Path | None = None) -> Plot:
    """The last frames one by one: height is latency, colour is the decision."""
    names = list(dict.fromkeys(name for name, _ in last))

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        for name, color in zip(names, _colors(names), strict=True):
            own = [(at, ms) for at, (decision, ms) in enumerate(last) if decision == name]
            axes.bar([at for at, _ in own], [ms for _, ms in own], 0.9, color=color, label=name)
        _limit(axes.axhline, limit_ms)
        axes.set(xlabel=f"last {len(last)} frames", ylabel="latency, ms")
        axes.margins(x=0)
        _legend_above(figure)

    return draw("decision-strip", "latency and decision of the last frames", onto, folder=folder)


def lane_timeline(
    name: str,
    about: str,
    bars: Sequence[LaneBar],
    *,
    begun_ms: Sequence[float] = (),
    limit_ms: float | None = None,
    missed_ms: Sequence[float] = (),
    folder: Path | None = None,
) -> Plot:
    """Both lanes of the frame engine over a second: what ran when, when frames came, and when an answer was due."""
    kinds = list(dict.fromkeys(Step.named(bar.step).kind.value for bar in bars))
    rows = {"background": 0, "frame": 1}

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        for kind, color in zip(kinds, _colors(kinds), strict=True):
            label: str | None = kind
            for lane, row in rows.items():
                own = [bar for bar in bars if bar.lane == lane and Step.named(bar.step).kind.value == kind]
                spans = [(bar.start_ms, max(MIN_BAR_MS, bar.end_ms - bar.start_ms)) for bar in own]
                if spans:
                    axes.broken_barh(spans, (row - 0.35, 0.7), color=color, label=label)
                    label = None
        marks = [(begun_ms, ARRIVAL_COLOR)]
        if limit_ms is not None:
            marks.append(([at_ms + limit_ms for at_ms in begun_ms], LIMIT_COLOR))
        for times_ms, color in marks:
            axes.vlines(times_ms, 1.4, 1.6, color=color, linewidth=0.8)
        for at_ms in missed_ms:
            axes.axvline(at_ms, color=LIMIT_COLOR, linewidth=0.8)
        axes.set(xlabel=f"ms of the {about}", yticks=list(rows.values()), yticklabels=list(rows))
        axes.set_xlim(0, 1000)
        _legend_above(figure)

    return replace(draw(name, f"both lanes, {about}", onto, height=2.4, folder=folder), zoomable=True)


def steps_bars(steps: Mapping[str, tuple[float, float]], folder: Path | None = None) -> Plot:
    """Median (bar) and 99th percentile (line) of each step."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        names = list(steps)[::-1]
        medians = [steps[name][0] for name in names]
        axes.barh(names, medians, color=MAIN, label="median")
        axes.hlines(names, medians, [steps[name][1] for name in names], color=SECOND, linewidth=2, label="to p99")
        axes.set(xlabel="ms, over the frames that have the step", xlim=(0, None))
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower right")

    return draw("steps", "latency by step", onto, height=1.2 + 0.26 * len(steps), folder=folder)


def machine_lines(
    at_s: Sequence[float], series: Mapping[str, Mapping[str, Sequence[float]]], folder: Path | None = None
) -> Plot:
    """Sensor readings over the run: a plot for each unit, a line for each sensor."""

    def onto(figure: Any) -> None:
        rows = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (unit, lines) in zip(rows, series.items(), strict=True):
            for number, (name, values) in enumerate(lines.items()):
                shown = name if number < MAX_LEGEND_LINES else None
                axes.plot(at_s[: len(values)], values, linewidth=1.1, label=shown)
            axes.set(ylabel=unit)
            axes.margins(x=0)
            if len(lines) > 1:
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        rows[-1].set(xlabel="time, s")

    return draw("machine", "sensor readings over the run", onto, height=1.6 * len(series), folder=folder)


def pareto(
    points: Sequence[Point], cost: str, quality: str, folder: Path | None = None, *, name: str = "pareto"
) -> Plot:
    """Quality against cost of settings; a line joins the Pareto front."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        front = _pareto_front(points)
        axes.plot([p.cost for p in front], [p.quality for p in front], color=MAIN, linewidth=1, alpha=0.6)
        for number, point in enumerate(points):
            color, shape = SERIES[number % len(SERIES)], MARKERS[number // len(SERIES) % len(MARKERS)]
            size = 10 if point.highlighted else 7
            axes.plot(point.cost, point.quality, shape, color=color, markersize=size, label=point.name)
        axes.set(xlabel=cost, ylabel=quality, xlim=(0, 1.1 * max(p.cost for p in points)))
        axes.margins(y=0.25)
        figure.legend(loc="outside right upper", fontsize=9)

    height = max(3.2, 0.4 + 0.2 * len(points))  # room for the legend
    return draw(name, f"{quality} against {cost}", onto, height=height, folder=folder)


def iou_bars(
    classes: Mapping[str, Sequence[float | None]],
    names: Sequence[str],
    folder: Path | None = None,
    *,
    name: str = "iou",
) -> Plot:
    """IoU by class in percent, a bar for each series; ``None`` if a class does not occur."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        height = 0.8 / len(names)
        for number, series in enumerate(names):
            values = [row[number] or 0.0 for row in classes.values()]
            places = [at + (number - (len(names) - 1) / 2) * height for at in range(len(classes))]
            axes.barh(places, values, height, color=SERIES[number % len(SERIES)], label=series)
        axes.set_yticks(range(len(classes)), list(classes))
        axes.invert_yaxis()
        axes.set(xlabel="IoU, %", xlim=(0, 100))
        axes.grid(visible=False, axis="y")
        if len(names) > 1:
            figure.legend(loc="outside upper center", ncols=3)

    rows = len(classes) * max(1.0, 0.45 * len(names))
    return draw(name, "IoU by class", onto, height=1.2 + 0.22 * rows, folder=folder)


def _pareto_front(points: Sequence[Point]) -> list[Point]:
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def _times(points: Sequence[TimelinePoint]) -> tuple[list[float], str]:
    seconds = [point.at_s for point in points]
    if seconds and seconds[-1] > 300:
        return [at / 60 for at in seconds], "time, minutes"
    return seconds, "time, s"


def _colors(names: Sequence[str]) -> list[str]:
    """The same colour for the same decision in every plot; a decision is a combination of actions."""
    return [DECISION_COLORS.get(name) or SERIES[sum(map(ord, name)) % len(SERIES)] for name in names]


def _legend_above(figure: Any) -> None:
    figure.legend(loc="outside upper left", ncols=3, fontsize=9)


def _limit(line: Any, limit_ms: float | None) -> None:
    if limit_ms is not None:
        line(limit_ms, color=LIMIT_COLOR, linestyle="--", linewidth=1.3, label=f"limit {limit_ms:g} ms")
