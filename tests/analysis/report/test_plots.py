"""Every plot with what is usual, with the least that there can be, and with what is odd."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.analysis.report import Plot
from edge_vseg.analysis.report import plots as drawn
from edge_vseg.analysis.report.plots import (
    Point,
    TimelinePoint,
    decision_strip,
    decision_timeline,
    iou_bars,
    latency_cdf,
    latency_timeline,
    machine_lines,
    pareto,
    steps_bars,
)

NAN = float("nan")
CURVE = [(1.0, 0.0), (2.0, 0.5), (9.0, 1.0)]


def moments(*at_s: float, decisions: Sequence[str] = ("infer", "hold")) -> list[TimelinePoint]:
    return [TimelinePoint(at_s=at, p50=5.0 + at, max=9.0 + at, decisions=dict.fromkeys(decisions, 3)) for at in at_s]


USUAL: dict[str, Callable[..., Plot]] = {
    "latency-cdf": lambda **k: latency_cdf({"one": CURVE, "two": CURVE}, 5.0, **k),
    "latency-timeline": lambda **k: latency_timeline(moments(0, 1, 2), 8.0, **k),
    "decision-timeline": lambda **k: decision_timeline(moments(0, 1, 2), **k),
    "decision-strip": lambda **k: decision_strip([("infer", 9.0), ("hold", 1.0), ("infer", 8.0)], 5.0, **k),
    "steps": lambda **k: steps_bars({"infer": (9.0, 12.0), "fuse": (1.0, 1.5)}, **k),
    "machine": lambda **k: machine_lines([0, 1], {"MB": {"rss": [1, 2]}, "W": {"a": [1, 2], "b": [2, 1]}}, **k),
    "pareto": lambda **k: pareto(
        [Point(name="a", cost=1, quality=2), Point(name="b", cost=2, quality=3)], "c", "w", **k
    ),
    "iou": lambda **k: iou_bars({"road": [90, 80], "sky": [None, 70]}, ["ours", "theirs"], **k),
}
ODD: dict[str, Callable[[], Plot]] = {
    "one point of a curve": lambda: latency_cdf({"one": [(3.0, 1.0)]}, None),
    "no time at all": lambda: latency_cdf({"one": [(0.0, 0.0), (0.0, 1.0)]}, None),
    "one moment": lambda: latency_timeline(moments(0), None),
    "an hour": lambda: latency_timeline(moments(*range(0, 3600, 60)), 8.0),
    "one moment of decisions": lambda: decision_timeline(moments(0, decisions=["infer"])),
    "decisions that come and go": lambda: decision_timeline([*moments(0, 1), *moments(2, 9, decisions=["x, y"])]),
    "one frame": lambda: decision_strip([("inferred", 7.0)], None),
    "one step": lambda: steps_bars({"infer": (9.0, 12.0)}),
    "a step of no time": lambda: steps_bars({"infer": (0.0, 0.0)}),
    "many steps": lambda: steps_bars({f"slice {n}": (1.0, 2.0) for n in range(60)}),
    "one reading": lambda: machine_lines([0.0], {"MB": {"rss": [1.0]}}),
    "a sensor that was silent": lambda: machine_lines([0, 1, 2], {"W": {"a": [NAN, 1, NAN], "b": [NAN] * 3}}),
    "cores": lambda: machine_lines([0, 1], {"%": {f"core {n}": [n, n] for n in range(64)}}),
    "one point": lambda: pareto([Point(name="a", cost=1.0, quality=100.0, highlighted=True)], "c", "w"),
    "two at one place": lambda: pareto([Point(name=n, cost=1.0, quality=9.0) for n in "ab"], "c", "w"),
    "names like formulas": lambda: pareto([Point(name=r"$\no{ a_b $", cost=1, quality=2)], "$c", "w$"),
    "many points": lambda: pareto([Point(name=f"p {n}", cost=n, quality=n % 7) for n in range(1, 25)], "c", "w"),
    "a long name": lambda: pareto([Point(name="deadline (" + "long-" * 20, cost=1, quality=2)], "c", "w"),
    "no class seen": lambda: iou_bars({"road": [None]}, ["ours"]),
    "one class": lambda: iou_bars({"road": [50.0]}, ["ours"]),
    "many classes": lambda: iou_bars({f"<class> & {n}": [n % 100, None] for n in range(150)}, ["a", "b"]),
}


def texts(plot: Plot) -> list[str]:
    root = ET.fromstring(plot.svg)
    return ["".join(each.itertext()).strip() for each in root.iter() if each.tag.endswith("}text")]


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_odd_input_is_drawn(make: Callable[[], Plot]) -> None:
    plot = make()
    assert len(texts(plot)) > 2
    assert "nan" not in plot.svg
    assert plot.about
    (height,) = re.findall(r'viewBox="0 0 \S+ (\S+)"', plot.svg)
    places = re.findall(r'<text [^>]*? y="(\S+)"', plot.svg)
    assert len(places) > 1
    assert all(0 <= float(place) <= float(height) for place in places), "a text is cut off"


@pytest.mark.parametrize("name", USUAL)
def test_every_plot_has_a_png_of_its_own_name(name: str, tmp_path: Path) -> None:
    plot = USUAL[name](folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    assert cv2.imread(str(tmp_path / f"{name}.png")).shape[1] == 990
    assert plot == USUAL[name]()
    assert list(tmp_path.rglob("*")) == [tmp_path / f"{name}.png"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("latency-cdf", {"one", "two", "limit 5 ms", "% of frames"}),
        ("latency-timeline", {"slowest frame", "median", "limit 8 ms", "latency, ms", "time, s"}),
        ("decision-timeline", {"infer", "hold", "% of frames"}),
        ("decision-strip", {"infer", "hold", "limit 5 ms", "last 3 frames"}),
        ("steps", {"infer", "fuse", "median", "to p99"}),
        ("machine", {"MB", "W", "a", "b", "time, s"}),
        ("pareto", {"a", "b", "c", "w"}),
        ("iou", {"road", "sky", "ours", "theirs", "IoU, %"}),
    ],
)
def test_plots_say_what_they_show(name: str, shown: set[str]) -> None:
    assert shown <= set(texts(USUAL[name]()))


def test_long_runs_are_drawn_in_minutes() -> None:
    assert "time, minutes" in texts(latency_timeline(moments(0, 150, 301), None))
    assert "time, minutes" not in texts(latency_timeline(moments(0, 150, 300), None))
    assert not any("limit" in text for text in texts(latency_timeline(moments(0, 1), None)))


def figure_of(make: Callable[[], Plot], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What was drawn onto, instead of what it looks like."""
    from matplotlib.figure import Figure

    figure = Figure()
    monkeypatch.setattr(drawn, "draw", lambda name, about, onto, **more: onto(figure))
    make()
    return figure


def test_the_strip_has_a_bar_for_every_frame_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    (axes,) = figure_of(USUAL["decision-strip"], monkeypatch).axes
    bars = sorted((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in axes.patches)
    assert bars == [(pytest.approx(0), 9), (pytest.approx(1), 1), (pytest.approx(2), 8)]
    colors = [bar.get_facecolor() for bar in sorted(axes.patches, key=lambda bar: bar.get_x())]
    assert colors[0] == colors[2] != colors[1]


def test_shares_of_decisions_fill_the_whole_height(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [*moments(0, 1), *moments(2, decisions=["infer"])]
    (axes,) = figure_of(lambda: decision_timeline(made), monkeypatch).axes
    infer, hold = (each.get_datalim(axes.transData) for each in axes.collections)
    assert (infer.y0, hold.y1) == (0, 100)
    assert hold.x1 == 3, "the last moment lasts as long as the one before"


def test_steps_are_bars_to_the_median_from_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    (axes,) = figure_of(USUAL["steps"], monkeypatch).axes
    assert [bar.get_width() for bar in axes.patches] == [1, 9]


def test_classes_stand_from_the_top_with_a_bar_for_each_of_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    (axes,) = figure_of(USUAL["iou"], monkeypatch).axes
    assert [bar.get_width() for bar in axes.patches] == [90, 0, 80, 70]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(spans)), "bars overlap"


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_beats_in_both(pairs: list[tuple[int, int]]) -> None:
    points = [Point(name=str(number), cost=cost, quality=worth) for number, (cost, worth) in enumerate(pairs)]
    front = [(point.cost, point.quality) for point in drawn._pareto_front(points)]
    best = {
        (cost, worth)
        for cost, worth in pairs
        if not any(c <= cost and w >= worth and (c, w) != (cost, worth) for c, w in pairs)
    }
    assert set(front) == best
    assert front == sorted(front)
    assert len(front) == len(best)
