"""Open a scheduler for a variant: its policy, what is known of its costs, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import CalibrationError
from edge_vseg.runtimes import Session
from edge_vseg.scheduling.costs import CAUTION, CostMeter
from edge_vseg.scheduling.device_profile import find_device_profile, read_device_profile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.policies import Policy, make_policy
from edge_vseg.scheduling.replay import ReplayMeter, VirtualClock
from edge_vseg.scheduling.scheduler import Scheduler
from edge_vseg.scheduling.variant_sessions import Opener, VariantSessions


def open_scheduler(
    bundle: Bundle,
    variant: Variant,
    whole: Session,
    opener: Opener,
    *,
    policy: str | Policy,
    threads: int,
    profile: Path | None,
    replay: Path | None,
    clock: Callable[[], int],
) -> tuple[Scheduler, Callable[[], int]]:
    """A scheduler, and the clock that it goes by.

    Args:
        bundle: The bundle.
        variant: The graph in use.
        whole: Its whole graph, open; it stays the caller's.
        opener: Opens another file of the bundle.
        policy: What decides: a name, or a policy.
        threads: Worker threads, which a device profile depends on.
        profile: Device profile to insist on; ``None`` for the one beside the bundle, if there is one.
        replay: Device profile whose costs are replayed.
        clock: Nanoseconds; not used when costs are replayed.

    Raises:
        CalibrationError: If a profile given does not fit.
        OptionError: If the graph lacks what the policy needs.
    """
    known = find_device_profile(profile, bundle.root, bundle.sha256, variant, threads)
    if replay is not None:
        known = read_device_profile(replay)
        if known.bundle_sha256 != bundle.sha256:
            raise CalibrationError(f"{replay} is of another bundle than {bundle.root}; calibrate this one")
        if known.variant != variant.id:
            raise CalibrationError(f"{replay} is of {known.variant}, not {variant.id}; open that variant")
        clock = virtual = VirtualClock()
        meter: CostMeter = ReplayMeter(len(variant.slices), known, virtual)
    else:
        expected, caution = (known.expected, 1.0) if known else (_expected(variant), CAUTION)
        meter = CostMeter(len(variant.slices), expected, caution=caution)
    scheduler = Scheduler(
        VariantSessions(variant, whole, opener),
        bundle.manifest.head,
        bundle.manifest.frame.size_hw,
        make_policy(policy) if isinstance(policy, str) else policy,
        clock=clock,
        meter=meter,
        drift=known.drift if known else DriftModel(),
    )
    return scheduler, clock


def _expected(variant: Variant) -> dict[str, float]:
    """Milliseconds by name, as measured where the bundle was made."""
    known = {f"slice {at}": part.latency_ms for at, part in enumerate(variant.slices) if part.latency_ms is not None}
    if variant.parity is not None and variant.parity.latency_ms is not None:
        known["whole"] = variant.parity.latency_ms
    if variant.tile is not None and variant.tile.latency_ms is not None:
        known["tile"] = variant.tile.latency_ms
    return known
