"""The API reference shows docstrings as Markdown."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "api_docstrings.py"
pytest.importorskip("griffe", reason="the API reference needs the extra docs")
spec = importlib.util.spec_from_file_location("api_docstrings", TOOL)
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("See :class:`Segmenter`.", "See `Segmenter`."),
        ("A :class:`~edge_vseg.types.Frame`.", "A `Frame`."),
        (":attr:`Frame.motion <edge_vseg.types.Frame>`", "`Frame.motion`"),
        ("Open.\n\nExample:\n    >>> 1\n    1", "Open.\n\nExamples:\n    >>> 1\n    1"),
        ("===  ====\na    b\n===  ====\n0    one\n===  ====", "| a | b |\n|---|---|\n| 0 | one |"),
        ("No markup: nothing changes.", "No markup: nothing changes."),
    ],
    ids=["role", "short role", "titled role", "example", "table", "plain"],
)
def test_docstrings_become_markdown(docstring: str, markdown: str) -> None:
    assert tool.to_markdown(docstring) == markdown
