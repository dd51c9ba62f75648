"""The device profile of a board that nobody has: every step takes the same time, always."""

from __future__ import annotations

from pathlib import Path

from edge_vseg.bundle import open_bundle
from edge_vseg.motion import ESTIMATORS
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.device_profile import Contention, Cost, DeviceProfile, write_device_profile
from edge_vseg.scheduling.drift import DriftModel


def write_board_profile(path: Path, bundle: Path, network_ms: float) -> DeviceProfile:
    """A machine of two cores on which every step but the network takes a millisecond, always."""
    opened = open_bundle(bundle)
    variant = opened.manifest.variants[0]
    count = len(variant.slices)
    ms = {steps.slice_step(number): network_ms / count for number in range(count)}
    ms |= dict.fromkeys((steps.INFER, steps.BACKGROUND, steps.TILE), network_ms)
    once = (steps.PREPROCESS, steps.DECIDE, steps.CARRY, steps.FUSE, steps.LABELS, steps.GUIDED_LABELS, steps.PROPAGATE)
    ms |= dict.fromkeys((*once, *map(steps.motion_step, ESTIMATORS)), 1.0)
    profile = DeviceProfile(
        bundle_sha256=opened.sha256,
        variant=variant.id,
        machine="board-2-0123abcd",
        threads=2,
        runtime="onnxruntime 1",
        video="drive.mp4",
        costs={str(step): Cost(runs=9, p50=each, p90=each, p99=each) for step, each in ms.items()},
        drift=DriftModel(),
        contention=Contention(),
    )
    write_device_profile(path, profile)
    return profile
