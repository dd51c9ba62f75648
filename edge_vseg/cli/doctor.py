"""``edge-vseg doctor``."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from edge_vseg.cli import console
from edge_vseg.cli.options import JsonOption
from edge_vseg.runtimes.doctor import diagnose


def doctor(as_json: JsonOption = False) -> None:
    """Show the CPU, the runtimes and packages on this machine, and the pip line for each one that is missing."""
    diagnosis = diagnose()
    if as_json:
        console.print_json(diagnosis.as_dict())
        return
    cpu = diagnosis.cpu
    console.out.print(
        f"[bold]{escape(cpu.model)}[/] ({cpu.architecture}, {diagnosis.usable_cores} cores)", highlight=False
    )
    console.out.print(f"  int8 features: {', '.join(cpu.features) or 'none'}", highlight=False)
    console.out.print(f"  {diagnosis.system}, Python {diagnosis.python}", highlight=False)
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in diagnosis.packages.items())
    console.out.print(f"  {packages}", highlight=False)
    table = Table("runtime", "status", "version", "providers or what to do", box=None, header_style="bold")
    for runtime in diagnosis.runtimes:
        color = {"ok": "green", "missing": "yellow", "broken": "red"}[runtime.status]
        detail = ", ".join(runtime.providers) or runtime.problem
        table.add_row(runtime.name, f"[{color}]{runtime.status}[/]", escape(runtime.version), escape(detail))
    console.out.print(table)
    for hint in diagnosis.hints:
        console.out.print(f"- {escape(hint)}", highlight=False)
