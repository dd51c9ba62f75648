"""Plots of how an int8 graph was chosen, and of what bounds its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vseg.analysis.report.figures import draw
from edge_vseg.analysis.report.page_blocks import Plot
from edge_vseg.analysis.report.plots import LIMIT_COLOR, MAIN, MARKERS, SECOND, SERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A graph in a front of agreement against time.

    Attributes:
        name: Written beside it.
        ms: Median milliseconds.
        quartiles_ms: Their quartiles; ``None`` if not known.
        agreement: Share of cells as float has them, 0 to 1.
        taken: Whether it is the one that was chosen.
    """

    name: str
    ms: float
    quartiles_ms: tuple[float, float] | None
    agreement: float
    taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoofPoint:
    """A node under a roof.

    Attributes:
        kind: Its operator.
        macs_per_byte: What it computes for each byte that it moves.
        gmac_per_s: How fast it does.
        share: Share of the graph's time, 0 to 1.
    """

    kind: str
    macs_per_byte: float
    gmac_per_s: float
    share: float


def precision_front(
    name: str, title: str, tried: Sequence[FrontPoint], float_ms: float | None, folder: Path | None = None
) -> Plot:
    """Agreement against time of the int8 graphs that were tried, with quartiles of the time, and of float.

    Args:
        name: Unique on the page.
        title: Of the time's axis.
        tried: The int8 graphs.
        float_ms: What float takes; ``None`` if not known.
        folder: Folder for ``NAME.png``; ``None`` for none.
    """

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([p.ms for p in tried], [100 * p.agreement for p in tried], color=MAIN, linewidth=1, alpha=0.5)
        for point in tried:
            low, high = point.quartiles_ms or (point.ms, point.ms)
            spread = [[max(0.0, point.ms - low)], [max(0.0, high - point.ms)]]
            color, size = (SECOND, 11) if point.taken else (MAIN, 6)
            axes.errorbar(
                point.ms, 100 * point.agreement, xerr=spread, fmt="o", color=color, markersize=size, capsize=3
            )
            text = f"{point.name}, taken" if point.taken else point.name
            axes.annotate(
                text, (point.ms, 100 * point.agreement), xytext=(6, -13), textcoords="offset points", fontsize=9
            )
        if float_ms is not None:
            axes.axvline(float_ms, color=LIMIT_COLOR, linestyle="--", linewidth=1.2)
            axes.annotate(
                "float", (float_ms, 0.03), xycoords=("data", "axes fraction"), xytext=(4, 0),
                textcoords="offset points", color=LIMIT_COLOR, fontsize=9,
            )  # fmt: skip
        axes.set(xlabel=title, ylabel="cells as float has them, %")
        axes.margins(x=0.12, y=0.2)

    return draw(name, f"agreement against {title} of the graphs that were tried", onto, height=3.4, folder=folder)


def roofline_plot(
    name: str, title: str, points: Sequence[RoofPoint], gmac_per_s: float, gb_per_s: float, folder: Path | None = None
) -> Plot:
    """Nodes under the roof that memory (slope) and arithmetic (flat) make; the larger, the more of the time.

    Args:
        name: Unique on the page.
        title: Whose nodes they are.
        points: The nodes; those without products have no place here.
        gmac_per_s: The flat part, in 10^9 multiply-accumulates a second.
        gb_per_s: The slope, in 10^9 bytes a second.
        folder: Folder for ``NAME.png``; ``None`` for none.
    """
    drawn = [point for point in points if point.macs_per_byte > 0 and point.gmac_per_s > 0]
    kinds = list(dict.fromkeys(point.kind for point in drawn))

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        ridge = gmac_per_s / gb_per_s
        left = min([ridge / 4, *(point.macs_per_byte / 2 for point in drawn)])
        right = max([4 * ridge, *(point.macs_per_byte * 2 for point in drawn)])
        axes.plot([left, ridge, right], [left * gb_per_s, gmac_per_s, gmac_per_s], color=LIMIT_COLOR, linewidth=1.5)
        axes.axvline(ridge, color=LIMIT_COLOR, linestyle=":", linewidth=0.8)
        for number, kind in enumerate(kinds):
            own = [point for point in drawn if point.kind == kind]
            axes.scatter(
                [p.macs_per_byte for p in own], [p.gmac_per_s for p in own], [30 + 900 * p.share for p in own],
                color=SERIES[number % len(SERIES)], marker=MARKERS[number // len(SERIES) % len(MARKERS)],
                alpha=0.7, linewidth=0, label=kind,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel=f"{title}, multiply-accumulates a byte", ylabel="GMAC/s")
        axes.set_xlim(left, right)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")  # powers of ten would be written in TeX, which the page does not read
            axis.set_minor_formatter("")
        if kinds:
            legend = figure.legend(loc="outside right upper", fontsize=9)
            for handle in legend.legend_handles:
                handle.set_sizes([40])

    about = f"nodes of {title} under the roof of {gmac_per_s:.0f} GMAC/s and {gb_per_s:.0f} GB/s"
    return draw(name, about, onto, height=3.4, folder=folder)
