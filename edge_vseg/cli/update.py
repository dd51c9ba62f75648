"""``edge-vseg update``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_vseg.child_process import ProcessLimits
from edge_vseg.cli import console
from edge_vseg.cli.options import BundleArgument, JsonOption, TrustedOption, parse_duration, require_trusted
from edge_vseg.cli.sign import describe_release, printable
from edge_vseg.update import (
    TransferLimits,
    UpdateOptions,
    UpdateReport,
    WatchOptions,
    install_update,
)


def update(
    bundle: BundleArgument,
    origin: Annotated[
        str, typer.Argument(metavar="FROM", help="Signed bundle, file of an index, or https:// address of an index.")
    ],
    trusted: TrustedOption = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="Certificates of the server's authority, PEM; else the system's.")
    ] = None,
    max_bytes: Annotated[int, typer.Option("--max-bytes", help="Largest bundle that is fetched.", min=1)] = 4 << 30,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long fetching may take.")] = "1h",
    probe_timeout: Annotated[
        str,
        typer.Option("--probe-timeout", metavar="TIME", help="How long one variant may take in its trial."),
    ] = "5m",
    watch: Annotated[
        str, typer.Option("--watch", metavar="TIME", help="Go back if it is not well so long after the switch.")
    ] = "0s",
    health: Annotated[
        str,
        typer.Option("--health", metavar="URL", help="With --watch: /health of the service; else the bundle is run."),
    ] = "",
    restart: Annotated[
        str, typer.Option("--restart", metavar="UNIT", help="systemd unit to restart after the switch.")
    ] = "",
    keep: Annotated[int, typer.Option("--keep", help="Versions that stay on disk.", min=2)] = 2,
    allow_rollback: Annotated[
        bool, typer.Option("--allow-rollback", help="Take a release that is older, or of another name.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Take a release that did not work here before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a signed bundle onto this device: verify, try, switch in one step, watch, and go back if it fails."""
    options = UpdateOptions(
        keys=require_trusted(trusted).keys,
        older="allow" if allow_rollback else "refuse",
        rejected="allow" if retry else "refuse",
        keep=keep,
        transfer=TransferLimits(max_bytes=max_bytes, seconds=parse_duration("--timeout", timeout), ca_file=ca_file),
        probe=ProcessLimits(seconds=parse_duration("--probe-timeout", probe_timeout)),
        watch=WatchOptions(seconds=parse_duration("--watch", watch, least=0), health_url=health, restart_unit=restart),
    )
    with console.steps("updating", quiet=as_json) as step:
        report = install_update(bundle, origin, options, step=step)
    if as_json:
        previous = None if report.previous is None else str(report.previous)
        told = {"status": report.status, "slot": str(report.slot), "previous": previous}
        console.print_json(told | {"release": describe_release(report.release), "signed_by": list(report.key_ids)})
        return
    for line in _lines(report, restarted=bool(restart)):
        console.out.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _lines(report: UpdateReport, *, restarted: bool) -> list[str]:
    name = f"{report.release.name} version {report.release.version}"
    if report.status == "current":
        return [f"{name} is the newest release, and is installed"]
    lines = [f"updated to {name}, signed by {', '.join(key_id[:16] for key_id in report.key_ids)}"]
    if report.previous is not None:
        lines.append(f"the one before is kept: {report.previous}")
    if not restarted and report.previous is not None:
        lines.append("what runs now keeps the old one until it is started again")
    return lines
