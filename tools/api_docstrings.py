"""Griffe extension of the API reference: docstrings as Markdown, and functions that share their module's name."""

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
    """Prepares a package for the reference."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Prepare a package that has just been read."""
        _prepare(pkg)


def _prepare(found: griffe.Object) -> None:
    if found.docstring:
        found.docstring.value = to_markdown(found.docstring.value)
    for name, member in list(found.members.items()):
        if not isinstance(member, griffe.Alias):
            _prepare(member)
        elif _is_namesake(found, member):
            path = f"{member.target_path}.{name}"
            found.set_member(name, griffe.Alias(name, path, lineno=member.alias_lineno, parent=found))


def _is_namesake(found: griffe.Object, alias: griffe.Alias) -> bool:
    """Whether an imported function is mistaken for its module: Python gives the function, griffe the module."""
    try:
        target = found.modules_collection.get_member(alias.target_path)
    except (KeyError, griffe.GriffeError):
        return False
    return not target.is_alias and target.is_module and alias.name in target.members
