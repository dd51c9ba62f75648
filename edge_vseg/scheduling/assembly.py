"""Open a scheduler: a variant's sessions, a policy, what is known of the costs, and a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import CalibrationError
from edge_vseg.runtimes import GraphSpec, Session
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.background import Background
from edge_vseg.scheduling.costs import SAFETY_FACTOR, CostMeter
from edge_vseg.scheduling.device_profile import DeviceProfile, find_device_profile, read_device_profile
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.policies import Policy, make_policy
from edge_vseg.scheduling.replay import ReplayedBackground, ReplayMeter, VirtualClock
from edge_vseg.scheduling.scheduler import Scheduler
from edge_vseg.scheduling.variant_sessions import SessionOpener, VariantSessions
from edge_vseg.types import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOptions:
    """How to schedule frames.

    Attributes:
        policy: A policy, or the name of one that needs no parameters.
        threads: Worker threads of the sessions; a device profile holds for one number of threads.
        device_profile: Device profile to use; ``None`` for the one beside the bundle, if there is one that fits.
        replay: Device profile, or its file, whose costs are replayed on a virtual clock instead of measuring.
        clock: Time in ns. When costs are replayed, the :class:`VirtualClock` to use; any other is left out.
    """

    policy: str | Policy
    threads: int = 0
    device_profile: Path | None = None
    replay: Path | DeviceProfile | None = None
    clock: Callable[[], int] = time.perf_counter_ns


def open_scheduler(
    bundle: Bundle, variant: Variant, whole: Session, opener: SessionOpener, options: SchedulerOptions
) -> tuple[Scheduler, Callable[[], int]]:
    """Open a scheduler for a variant.

    Args:
        bundle: The bundle.
        variant: The variant.
        whole: Open session of its whole graph; the caller closes it.
        opener: Opens the session of another graph of the bundle.
        options: How to schedule.

    Returns:
        The scheduler and its clock, in ns.

    Raises:
        CalibrationError: If a device profile was given and does not fit.
        OptionError: If the variant lacks what the policy needs.
    """
    profile = find_device_profile(options.device_profile, bundle.root, bundle.sha256, variant, options.threads)
    clock, slice_count = options.clock, len(variant.slices)
    background: Background | None = None
    if options.replay is not None:
        profile = _check_replay(options.replay, bundle, variant)
        clock = virtual = options.clock if isinstance(options.clock, VirtualClock) else VirtualClock()
        meter: CostMeter = (replayed := ReplayMeter(slice_count, profile, virtual))
        spec = GraphSpec.of(input=variant.input, output=variant.output)

        def infer(tensor: Tensor) -> Tensor:
            return whole.run({spec.input.name: tensor})[spec.output.name]

        background = ReplayedBackground(infer, virtual, replayed)
    elif profile is not None:
        meter = CostMeter(slice_count, profile.expected_ms, safety_factor=1.0)
    else:
        meter = CostMeter(slice_count, _export_costs_ms(variant), safety_factor=SAFETY_FACTOR)
    scheduler = Scheduler(
        VariantSessions(variant, whole, opener, background),
        bundle.manifest.head,
        bundle.manifest.frame.size_hw,
        make_policy(options.policy) if isinstance(options.policy, str) else options.policy,
        clock=clock,
        meter=meter,
        drift=profile.drift if profile else DriftModel(),
    )
    return scheduler, clock


def _check_replay(replay: Path | DeviceProfile, bundle: Bundle, variant: Variant) -> DeviceProfile:
    """A device profile to replay: of this bundle and variant, on any machine."""
    profile, path = (read_device_profile(replay), replay) if isinstance(replay, Path) else (replay, "the profile")
    if profile.bundle_sha256 != bundle.sha256:
        raise CalibrationError(f"{path} is of another bundle than {bundle.root}; calibrate this one")
    if profile.variant != variant.id:
        raise CalibrationError(f"{path} is of {profile.variant}, not {variant.id}; open that variant")
    return profile


def _export_costs_ms(variant: Variant) -> dict[str, float]:
    """Milliseconds by step, as measured where the bundle was exported."""
    costs_ms = {
        steps.slice_step(number): part.latency_ms
        for number, part in enumerate(variant.slices)
        if part.latency_ms is not None
    }
    if variant.parity is not None and variant.parity.latency_ms is not None:
        costs_ms[steps.INFER] = variant.parity.latency_ms
    if variant.tile is not None and variant.tile.latency_ms is not None:
        costs_ms[steps.TILE] = variant.tile.latency_ms
    return costs_ms
