"""Griffe extension of the API reference: turn what docstrings borrow from reStructuredText into Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`([^`]+)`")
TITLED = re.compile(r"(.+?)\s*<[^>]+>")
TABLE = re.compile(r"^=+ +=+\n.*\n=+ +=+$", re.MULTILINE | re.DOTALL)


def to_markdown(text: str) -> str:
    """A docstring with code spans for roles, Markdown tables, and ``Examples:`` for ``Example:``."""
    text = ROLE.sub(_code_span, text)
    text = TABLE.sub(_table, text)
    return re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)


def _code_span(match: re.Match[str]) -> str:
    target = match[1]
    titled = TITLED.fullmatch(target)
    if titled:
        return f"`{titled[1]}`"
    return f"`{target.rpartition('.')[2] if target.startswith('~') else target}`"


def _table(match: re.Match[str]) -> str:
    """A simple table of two columns, as Markdown."""
    rule, head, _, *rows, _ = match[0].splitlines()
    second = rule.index(" ") + 1
    cells = [(line[:second].strip(), line[second:].strip()) for line in (head, *rows)]
    lines = [f"| {left} | {right} |" for left, right in cells]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


class MarkdownDocstrings(griffe.Extension):
    """Translates every docstring of a package."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Translate the docstrings of a package that has just been read."""
        _translate(pkg)


def _translate(found: griffe.Object) -> None:
    if found.docstring:
        found.docstring.value = to_markdown(found.docstring.value)
    for member in found.members.values():
        if not isinstance(member, griffe.Alias):
            _translate(member)
