"""Try a bundle on this machine, its graphs in a child process."""

from __future__ import annotations

from pathlib import Path

from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import open_bundle
from edge_vseg.child_process import ProcessLimits
from edge_vseg.errors import EdgeVsegError, RejectedBundleError
from edge_vseg.scheduling.own_schedule import own_schedule
from edge_vseg.trust import TrustPolicy
from edge_vseg.trust.verification import require_trust


def probe_bundle(bundle: Path, keys: Path, limits: ProcessLimits, beside: Path) -> None:
    """Check a bundle as ``edge-vseg verify`` does: signature, hashes, and the labels of every variant that runs here.

    Args:
        bundle: Its directory.
        keys: The trusted keys.
        limits: What one variant may take in the child process.
        beside: The folder that the bundle will be opened in, where a companion must lie.

    Raises:
        RejectedBundleError: If a variant gives other labels than at export, none runs, or the process dies or is late.
    """
    try:
        opened = open_bundle(bundle)
        require_trust(opened, TrustPolicy(keys=keys))
        check_files(opened)
        # A policy or companion that is not here would stop the robot at its next start.
        own_schedule(opened, beside=beside)
        checks = check_variants(opened, limits=limits)
    except EdgeVsegError as exc:
        raise RejectedBundleError(f"{bundle} does not work on this machine: {exc}") from exc
    wrong = [f"{each.id} ({each.detail})" for each in checks if each.status == "wrong"]
    if wrong:
        raise RejectedBundleError(f"{bundle} does not work on this machine: wrong: {', '.join(wrong)}")
    if all(each.status == "skipped" for each in checks):
        raise RejectedBundleError(
            f"{bundle} does not work on this machine: no variant runs here; see `edge-vseg doctor`"
        )
