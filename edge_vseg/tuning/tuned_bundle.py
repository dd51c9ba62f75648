"""Write the bundle of a recommended setting: the same graphs, and the setting as its own schedule."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import CompanionSpec, ScheduleSpec
from edge_vseg.bundle.scheduled_copy import write_scheduled_copy
from edge_vseg.errors import BundleWriteError
from edge_vseg.scheduling.device_profile import (
    find_device_profile,
    place_of_profile,
    read_device_profile,
    write_device_profile,
)
from edge_vseg.tuning.setting import Setting


def write_tuned_bundle(
    setting: Setting,
    networks: Mapping[str, Bundle],
    target: Path,
    *,
    machine: str,
    profile: Path | None,
    origin: Mapping[str, str],
) -> Bundle:
    """Write a network's bundle with a setting as its own schedule.

    A device profile of the network becomes one of the new bundle, and is written beside it. A companion that does not
    lie beside it already is copied there.

    Args:
        setting: The setting.
        networks: The study's networks.
        target: The bundle to write; one that is there is replaced.
        machine: The device that it was tuned for.
        profile: Device profile that was replayed; ``None`` for the one beside the network's bundle, if there is one.
        origin: Where the setting comes from, by topic.

    Raises:
        BundleWriteError: If it cannot be written.
    """
    network = networks[setting.network]
    companion = None
    threads = setting.threads
    variant = network.manifest.variant(setting.variant)
    if profile is None:  # one of an older export, or a damaged one, is not passed on
        known = find_device_profile(None, network.root, network.sha256, variant, threads)
    else:
        known = read_device_profile(profile)
        threads = known.threads
    if setting.companion:
        companion = _place_companion(networks[setting.companion], target)
    schedule = ScheduleSpec(
        policy=setting.policy,
        parameters=setting.parameters,
        variant=setting.variant,
        threads=threads,
        borders=setting.borders,
        companion=companion,
        machine=machine,
        origin=dict(origin),
    )
    bundle = write_scheduled_copy(network, target, schedule)
    if known is not None:
        ours = msgspec.structs.replace(known, bundle_sha256=bundle.sha256)
        write_device_profile(place_of_profile(bundle.root, ours), ours)
    return bundle


def companion_place(companion: Bundle, target: Path) -> Path:
    """Where a companion lies beside a bundle.

    Raises:
        BundleWriteError: If that is the bundle itself, or something else lies there.
    """
    # Beside the path that is opened: after an update that is a link, and where it leads to is replaced by the next one.
    place = _named(target).with_name(_named(companion.root).name)
    if place.resolve() == target.resolve():
        raise BundleWriteError(f"the companion {companion.root} would lie at {target} itself; give another -o")
    if place.exists() and open_bundle(place).sha256 != companion.sha256:
        raise BundleWriteError(
            f"{place} is another bundle, and the companion {companion.root} must lie there; move one of them, or write"
            " the tuned bundle elsewhere with -o"
        )
    return place


def _named(path: Path) -> Path:
    """The whole path as it is called, links included."""
    return path.absolute() if path.name not in ("", "..") else path.resolve()


def _place_companion(companion: Bundle, target: Path) -> CompanionSpec:
    place = companion_place(companion, target)
    if not place.exists():
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(companion.root, partial)
        partial.rename(place)
    return CompanionSpec(name=place.name, sha256=companion.sha256)
