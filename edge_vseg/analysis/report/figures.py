"""Draw figures as SVG in the page's colours, and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_vseg.analysis.report.page_blocks import Plot
from edge_vseg.errors import BackendMissingError, OptionError
from edge_vseg.files import make_folder, write_whole

INK = "#010203"
"""Placeholder for the page's text colour."""
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
    name: str, about: str, plot: Callable[[Any], None], *, height: float = 2.8, folder: Path | None = None
) -> Plot:
    """Draw a figure.

    Args:
        name: Unique on the page: prefix of ids in the SVG, and name of the PNG file.
        about: What it shows, as alternative text.
        plot: Called with the ``matplotlib`` figure to plot on.
        height: Inches; the width is 9.
        folder: Folder for ``NAME.png`` on white; ``None`` for none.

    Raises:
        BackendMissingError: If the extra ``report`` is not installed.
        OutputError: If the PNG cannot be written.
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
        plot(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        if folder is not None:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=110, facecolor="white")
            make_folder(folder)
            write_whole(folder / f"{name}.png", picture.getvalue())
    return Plot(svg=_for_page(buffer.getvalue()), about=about)


def check_folder(folder: Path) -> None:
    """Check that a folder for PNG files exists or can be made, before anything that takes time.

    Raises:
        OptionError: If the path, or one of its parents, is a file.
    """
    for path in (folder, *folder.parents):
        if path.is_dir():
            return
        if path.exists():
            raise OptionError(f"{folder}: {path} is not a folder; give another one for the plots")


def _for_page(svg: str) -> str:
    """Strip what would clash with the page: declarations, metadata, group ids (equal in all figures), fonts."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    for pattern, replacement in (
        (r"<metadata>.*?</metadata>", ""),
        (r"<style type=.*?</style>", ""),
        (r'<g id="[^"]*"', "<g"),
        (r"font-family: [^;\"]*", "font-family: system-ui, sans-serif"),
    ):
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    return svg
