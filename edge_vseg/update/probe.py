"""Try a bundle on this machine, its graphs in a child process."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from edge_vseg.analysis.variant_check import VariantCheck, check_variant
from edge_vseg.analysis.verification import check_files, check_variants
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import EdgeVsegError, RejectedBundleError
from edge_vseg.open_options import OpenOptions
from edge_vseg.runtimes.probing import FAILURES, ProbeRule
from edge_vseg.scheduling.own_schedule import OwnSchedule, own_schedule, tuned_variant
from edge_vseg.segmenter import Segmenter
from edge_vseg.trust import TrustPolicy
from edge_vseg.trust.verification import require_trust


def probe_bundle(bundle: Path, keys: Path, limits: ProcessLimits, beside: Path) -> None:
    """Check a bundle as ``edge-vseg verify`` does: signature, hashes, and the labels of every variant that runs here.

    A bundle with a schedule of its own is also opened with that, as the robot will at its next start.

    Args:
        bundle: Its directory.
        keys: The trusted keys.
        limits: What one variant may take in the child process.
        beside: The folder that the bundle will be opened in, where a companion must lie.

    Raises:
        RejectedBundleError: If a variant gives other labels than at export, none runs, its own schedule cannot be
            opened, or the process dies or is late.
    """
    try:
        opened = open_bundle(bundle)
        require_trust(opened, TrustPolicy(keys=keys))
        check_files(opened)
        # A policy or companion that is not here would stop the robot at its next start.
        own = own_schedule(opened, beside=beside)
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
    if own is not None:
        _try_own_schedule(opened, own, checks, limits)


def _try_own_schedule(bundle: Bundle, own: OwnSchedule, checks: list[VariantCheck], limits: ProcessLimits) -> None:
    """Raise RejectedBundleError if a bundle cannot be opened with its own schedule."""
    own = replace(own, variant=tuned_variant(bundle, own))  # as a start takes it
    try:
        with ChildProcess("its process", limits, FAILURES) as child:
            tuned = next((each for each in checks if each.id == own.variant), None)
            if tuned is not None and tuned.status == "skipped":  # another one is meant for this CPU, but this one runs
                tuned = child.call(check_variant, bundle, bundle.manifest.variant(own.variant))
            if tuned is None or tuned.status == "ok":
                child.call(open_own_schedule, bundle.root, own)
    except EdgeVsegError as exc:
        raise RejectedBundleError(
            f"{bundle.root} does not work on this machine: its own schedule cannot be opened: {exc}"
        ) from exc
    if tuned is not None and tuned.status != "ok":
        raise RejectedBundleError(
            f"{bundle.root} does not work on this machine: its schedule takes {own.variant}, which does not run here"
            f" ({tuned.detail}); tune it on a machine like this one, or install what is missing"
        )


def open_own_schedule(root: Path, own: OwnSchedule) -> None:
    """Open a bundle once with its own schedule and companion, under this machine's rule of trust.

    Args:
        root: The bundle.
        own: The schedule.

    Raises:
        EdgeVsegError: If it cannot be opened.
    """
    with tempfile.TemporaryDirectory() as folder:  # times of a busy moment are not remembered
        options = OpenOptions(
            variant=own.variant,
            borders=own.borders,
            companion=own.companion,
            cache=Path(folder) / "auto.json",
            probe=ProbeRule(when="never"),
        )
        Segmenter.open(root, policy=own.policy, threads=own.threads, options=options).close()
