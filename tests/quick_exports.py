"""Exports of small networks without what takes longer than they do and is the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest


@contextmanager
def quick_exports() -> Iterator[None]:
    """This machine is measured once, and reports have no figures; tests of either do without this."""
    from edge_vseg.analysis.report import int8_plots, plots
    from edge_vseg.analysis.report.page_blocks import Plot
    from edge_vseg.export import node_rooflines

    def blank(name: str, about: str, *_: Any, **__: Any) -> Plot:
        return Plot(svg=f'<svg id="{name}"></svg>', about=about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", blank)
        patch.setattr(int8_plots, "draw", blank)
        patch.setattr(node_rooflines, "measure_peaks", _peaks())
        yield


@cache
def _peaks() -> Any:
    from edge_vseg.export.roofline import measure_peaks

    return cache(measure_peaks)
