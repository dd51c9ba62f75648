"""The coverage page says what the table says."""

from __future__ import annotations

from pathlib import Path

from edge_vseg.export.onnx_to_torch.coverage import coverage_markdown
from edge_vseg.export.onnx_to_torch.table import TABLE

PAGE = Path(__file__).parents[3] / "docs" / "operators.md"
UPDATE = "python -c 'from edge_vseg.export.onnx_to_torch.coverage import coverage_markdown as m; print(m(), end=\"\")'"


def test_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == coverage_markdown(), f"run {UPDATE} > docs/operators.md"


def test_every_operator_has_a_row():
    page = coverage_markdown()
    for name, row in TABLE.items():
        assert f"\n| {name} | {', '.join(map(str, row.versions))} | " in page
