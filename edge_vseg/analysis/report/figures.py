"""Figures as SVG that takes the page's colours, and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_vseg.analysis.report.page_blocks import Plot
from edge_vseg.errors import BackendMissingError, OptionError

INK = "#010203"
"""Stands for the page's text colour."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#888888",
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def draw(
    name: str, about: str, onto: Callable[[Any], None], *, height: float = 2.8, folder: Path | None = None
) -> Plot:
    """Draw a figure.

    Args:
        name: Of the drawing, each once on a page: ids in the SVG begin with it, and the PNG is called so.
        about: What it shows.
        onto: Draws onto a ``matplotlib`` figure.
        height: Inches, at 9 wide.
        folder: Gets ``NAME.png``, on white, if given.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OptionError: If the PNG cannot be written.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise BackendMissingError("plots need matplotlib: pip install 'edge-vseg[report]'") from exc
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(9, height), layout="constrained")
        FigureCanvasAgg(figure)
        onto(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        if folder is not None:
            path = folder / f"{name}.png"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, dpi=110, facecolor="white")
            except OSError as exc:
                raise OptionError(f"the plot {path} cannot be written: {exc.strerror or exc}") from exc
    return Plot(svg=_for_page(buffer.getvalue()), about=about)


def check_folder(folder: Path) -> None:
    """Refuse a folder that PNG files cannot go to, before anything that takes time.

    Raises:
        OptionError: If it, or one that it should be in, is a file.
    """
    for place in (folder, *folder.parents):
        if place.is_dir():
            return
        if place.exists():
            raise OptionError(f"{folder}: {place} is no folder; give another one for the plots")


def _for_page(svg: str) -> str:
    """Without what a page has itself: declarations, metadata, names of groups (which every figure has), fonts."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    for pattern, instead in (
        (r"<metadata>.*?</metadata>", ""),
        (r"<style type=.*?</style>", ""),
        (r'<g id="[^"]*"', "<g"),
        (r"font-family: [^;\"]*", "font-family: system-ui, sans-serif"),
    ):
        svg = re.sub(pattern, instead, svg, flags=re.DOTALL)
    return svg
