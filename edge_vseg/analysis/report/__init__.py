"""HTML reports: one self-contained page made of blocks."""

from __future__ import annotations

from edge_vseg.analysis.report.html import write_page
from edge_vseg.analysis.report.page_blocks import Block, Cell, Facts, Note, Picture, Pictures, Plot, Section, Table

__all__ = ["Block", "Cell", "Facts", "Note", "Picture", "Pictures", "Plot", "Section", "Table", "write_page"]
