"""``edge-vseg verify``."""

from __future__ import annotations

import dataclasses
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from edge_vseg.analysis.variant_check import VariantCheck
from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.cli import console
from edge_vseg.cli.options import (
    BundleArgument,
    JsonOption,
    ProviderOption,
    ProviderOptionsOption,
    ThreadsOption,
    TrustedOption,
    parse_provider_options,
    read_trust,
)
from edge_vseg.cli.sign import describe_release
from edge_vseg.open_options import OpenOptions
from edge_vseg.trust import VerifiedRelease, require_trust


def verify(
    bundle: BundleArgument,
    threads: ThreadsOption = 0,
    provider: ProviderOption = "",
    provider_option: ProviderOptionsOption = None,
    trusted: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the hash of every file, and the labels of every variant on this machine against those at export.

    A variant's slices and its graph for tiles must agree with its whole graph. Each variant runs in a process of its
    own, which a damaged graph may kill or block. With --provider, variants whose runtime does not have it are skipped.
    Exits with 3 if a variant gives different labels here than at export.
    """
    options = OpenOptions(provider=provider, provider_options=parse_provider_options(provider_option))
    opened = open_bundle(bundle)
    verified = require_trust(opened, read_trust(trusted))
    files = check_files(opened)
    with console.steps("verifying", quiet=as_json) as step:
        step("running the variants")
        checks = check_variants(opened, threads=threads, options=options)
    wrong = [c for c in checks if c.status == "wrong"]
    ran = [c for c in checks if c.status != "skipped"]
    if as_json:
        rows = [dataclasses.asdict(c) for c in checks]
        console.print_json(
            {"path": str(bundle), "files": files, "ok": bool(ran) and not wrong, "variants": rows}
            | _signature(verified)
        )
    else:
        console.out.print(f"{files} files are intact", highlight=False)
        if verified is not None:
            console.out.print(
                f"version {verified.release.version} of {verified.release.created:%Y-%m-%d}, signed by"
                f" {', '.join(verified.key_ids)}",
                highlight=False,
            )
        console.out.print(_table(checks))
        if not ran:
            console.out.print("[red]no variant could be run on this machine[/]; see `edge-vseg doctor`")
    if wrong or not ran:
        raise typer.Exit(console.EXIT_CHECK)


def _signature(verified: VerifiedRelease | None) -> dict[str, Any]:
    """The key ``signature`` of the JSON object; ``null`` where no key is trusted or asked for."""
    if verified is None:
        return {"signature": None}
    return {"signature": describe_release(verified.release) | {"signed_by": list(verified.key_ids)}}


def _table(checks: list[VariantCheck]) -> Table:
    columns = ("variant", "status", "pixels = float", "at least", "slices", "tiles", "")
    table = Table(*columns, box=None, header_style="bold")
    for check in checks:
        color = {"ok": "green", "wrong": "red", "skipped": "yellow"}[check.status]
        values = (check.agreement, check.expected, check.slices, check.tiles)
        shares = ["" if value is None else f"{value:.2%}" for value in values]
        table.add_row(escape(check.id), f"[{color}]{check.status}[/]", *shares, escape(check.detail))
    return table
