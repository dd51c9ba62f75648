"""``edge-vseg verify``."""

from __future__ import annotations

import dataclasses

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.verification import VariantCheck, check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.cli import console
from edge_vseg.cli.options import BundleArgument, JsonOption, ThreadsOption


def verify(
    bundle: BundleArgument,
    threads: ThreadsOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Check the hash of every file, and the labels of every variant on this machine against those at export.

    Exits with 3 if a variant gives different labels here than at export.
    """
    opened = open_bundle(bundle)
    files = check_files(opened)
    with console.steps("verifying", quiet=as_json) as step:
        step("running the variants")
        checks = check_variants(opened, threads=threads)
    wrong = [c for c in checks if c.status == "wrong"]
    ran = [c for c in checks if c.status != "skipped"]
    if as_json:
        rows = [dataclasses.asdict(c) for c in checks]
        console.print_json({"path": str(bundle), "files": files, "ok": bool(ran) and not wrong, "variants": rows})
    else:
        console.out.print(f"{files} files are intact", highlight=False)
        console.out.print(_table(checks))
        if not ran:
            console.out.print("[red]no variant could be run on this machine[/]; see `edge-vseg doctor`")
    if wrong or not ran:
        raise typer.Exit(console.EXIT_CHECK)


def _table(checks: list[VariantCheck]) -> Table:
    table = Table("variant", "status", "pixels = float", "at least", "", box=None, header_style="bold")
    for check in checks:
        color = {"ok": "green", "wrong": "red", "skipped": "yellow"}[check.status]
        shares = ["" if value is None else f"{value:.2%}" for value in (check.agreement, check.expected)]
        table.add_row(check.id, f"[{color}]{check.status}[/]", *shares, escape(check.detail))
    return table
