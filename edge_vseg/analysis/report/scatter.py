"""A scatter plot as SVG of its own, in which each point says what it is when the pointer is over it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.analysis.report.page_blocks import Plot

Mark: TypeAlias = Literal["front", "allowed", "refused", "default", "chosen"]
WIDTH, HEIGHT = 900, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 20, 50
_COLORS: dict[Mark, str] = {
    "front": "#1565c0",
    "allowed": "#90a4ae",
    "refused": "#e57373",
    "default": "#f9a825",
    "chosen": "#2e7d32",
}
_ORDER: tuple[Mark, ...] = ("refused", "allowed", "front", "default", "chosen")
MARK_NAMES: dict[Mark, str] = {
    "front": "on the front",
    "allowed": "within the limits",
    "refused": "breaks a limit",
    "default": "untuned",
    "chosen": "recommended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point.

    Attributes:
        x: Its place on the horizontal axis.
        y: Its place on the vertical axis.
        mark: What it is.
        text: Lines that are shown when the pointer is over it.
    """

    x: float
    y: float
    mark: Mark
    text: tuple[str, ...]


def scatter(dots: Sequence[Dot], x_name: str, y_name: str, *, x_limit: float | None = None) -> Plot:
    """Draw points.

    Args:
        dots: The points.
        x_name: Name of the horizontal axis.
        y_name: Name of the vertical axis.
        x_limit: Where to draw a vertical line; ``None`` for none.
    """
    across = _Axis.over([dot.x for dot in dots] + ([] if x_limit is None else [x_limit]), _LEFT, WIDTH - _RIGHT)
    up = _Axis.over([dot.y for dot in dots], HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-size="13" fill="currentColor">',
        "<style>.tip{visibility:hidden;pointer-events:none;paint-order:stroke;"
        "stroke:Canvas;stroke-width:5px}"
        ".dot:hover .tip,.dot:focus .tip{visibility:visible}"
        ".dot:hover circle{stroke:currentColor;stroke-width:2}</style>",
        *_axes(across, up, x_name, y_name),
    ]
    if x_limit is not None:
        x = across(x_limit)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="#e57373"'
            ' stroke-dasharray="6 4"/>'
        )
    parts += [_dot(dot, across(dot.x), up(dot.y)) for dot in sorted(dots, key=lambda dot: _ORDER.index(dot.mark))]
    parts.append(_legend([mark for mark in _COLORS if any(dot.mark == mark for dot in dots)]))
    parts.append("</svg>")
    return Plot(svg="\n".join(parts), about=f"{y_name} against {x_name}, {len(dots)} points")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> _Axis:
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        margin = 0.06 * (high - low) or 0.5
        return cls(low=low - margin, high=high + margin, begin=begin, end=end)

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        return [step * index for index in range(first, math.floor(self.high / step) + 1)]


def _axes(across: _Axis, up: _Axis, x_name: str, y_name: str) -> list[str]:
    bottom = HEIGHT - _BOTTOM
    parts = []
    for tick in across.ticks:
        x = across(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="currentColor" opacity=".12"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in up.ticks:
        y = up(tick)
        parts.append(
            f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".12"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text x="{(WIDTH + _LEFT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(x_name)}</text>')
    parts.append(
        f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle">{html.escape(y_name)}</text>'
    )
    return parts


def _dot(dot: Dot, x: float, y: float) -> str:
    radius = 7 if dot.mark in ("chosen", "default") else 5
    anchor, shift = ("end", -12) if x > WIDTH / 2 else ("start", 12)
    first = max(_TOP + 12.0, min(y - 8 * len(dot.text), HEIGHT - _BOTTOM - 17.0 * len(dot.text)))
    lines = "".join(
        f'<tspan x="{x + shift:.1f}" dy="{0 if not number else 17}">{html.escape(line)}</tspan>'
        for number, line in enumerate(dot.text)
    )
    tip = f'<text class="tip" y="{first:.1f}" text-anchor="{anchor}">{lines}</text>'
    title = f"<title>{html.escape('; '.join(dot.text))}</title>"
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{_COLORS[dot.mark]}"/>'
    return f'<g class="dot" tabindex="0">{title}{circle}{tip}</g>'


def _legend(marks: Sequence[Mark]) -> str:
    parts = []
    for number, mark in enumerate(marks):
        x = _LEFT + 12 + 150 * number
        parts.append(f'<circle cx="{x}" cy="{_TOP - 8}" r="5" fill="{_COLORS[mark]}"/>')
        parts.append(f'<text x="{x + 10}" y="{_TOP - 4}">{MARK_NAMES[mark]}</text>')
    return "".join(parts)
