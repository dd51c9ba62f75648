"""``edge-vseg doctor``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.cli import console
from edge_vseg.runtimes.doctor import diagnose


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show what this machine has for edge_vseg, what is missing, and the pip line for it."""
    found = diagnose()
    if as_json:
        console.print_json(found.as_dict())
        return
    cpu = found.cpu
    console.out.print(f"[bold]{escape(cpu.model)}[/] ({cpu.architecture}, {found.usable_cores} cores)", highlight=False)
    console.out.print(f"  int8 features: {', '.join(cpu.features) or 'none'}", highlight=False)
    console.out.print(f"  {found.system}, Python {found.python}", highlight=False)
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in found.packages.items())
    console.out.print(f"  {packages}", highlight=False)
    table = Table("runtime", "status", "version", "providers or what to do", box=None, header_style="bold")
    for runtime in found.runtimes:
        color = {"ok": "green", "missing": "yellow", "broken": "red"}[runtime.status]
        detail = ", ".join(runtime.providers) or runtime.problem
        table.add_row(runtime.name, f"[{color}]{runtime.status}[/]", escape(runtime.version), escape(detail))
    console.out.print(table)
    for hint in found.hints:
        console.out.print(f"- {escape(hint)}", highlight=False)
