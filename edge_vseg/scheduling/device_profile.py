"""What ``edge-vseg calibrate`` learnt of a machine and a video: a file beside the bundle, read again on opening."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import msgspec

from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import CalibrationError
from edge_vseg.files import write_whole
from edge_vseg.runtimes.cpu import cpu_features, usable_cores
from edge_vseg.scheduling.drift import DriftModel

log = logging.getLogger(__name__)

SCHEMA = 2
SUFFIX = ".calibration"


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds that something took: quantiles of so many runs."""

    runs: int
    p50: float
    p90: float
    p99: float


class DriftFit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the drift model does on frames that it was not fitted to.

    ``correlation`` is that of predicted and true drift by frame, ``mean_error`` their mean absolute difference,
    ``mean_drift`` the mean of the true one, all as shares of pixels.
    """

    frames: int
    correlation: float
    mean_error: float
    mean_drift: float


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One variant of a bundle on one machine.

    Attributes:
        bundle_sha256: Of the bundle's manifest.
        variant: Id of the variant.
        machine: What :func:`machine_key` gives.
        threads: Worker threads that it was opened with.
        runtime: The runtime's distribution and version.
        video: Name of the sample video.
        costs: By name, as the scheduler's cost meter has them.
        drift: The fitted drift model.
        fit: How good it is; ``None`` if the video was too short to tell.
    """

    schema: int = SCHEMA
    bundle_sha256: str
    variant: str
    machine: str
    threads: int
    runtime: str
    video: str
    costs: dict[str, Cost]
    drift: DriftModel
    fit: DriftFit | None = None

    @property
    def expected(self) -> dict[str, float]:
        """Milliseconds by name that will hardly be exceeded."""
        return {name: cost.p90 for name, cost in self.costs.items()}


class _Header(msgspec.Struct):
    """What every version of the file has: read first, because the rest depends on it."""

    schema: int


def machine_key() -> str:
    """This machine, as a word for file names: the CPU's model, usable cores, and a fingerprint of its features."""
    cpu = cpu_features()
    model = re.sub(r"[^a-z0-9]+", "-", cpu.model.lower()).strip("-") or cpu.architecture
    return f"{model[:40]}-{usable_cores()}-{cpu.fingerprint()[:8]}"


def device_profile_path(bundle: Path, variant: str, threads: int) -> Path:
    """Where a variant's profile for this machine lies: in a folder beside the bundle, which stays as it is."""
    name = f"{machine_key()}_{variant.replace('/', '_')}_t{threads}.json"
    absolute = bundle.absolute() if bundle.name not in ("", "..") else bundle.resolve()
    return absolute.with_name(absolute.name + SUFFIX) / name


def write_device_profile(path: Path, profile: DeviceProfile) -> None:
    """Write a profile so that the path holds the old one or the new one, whole, at every moment.

    Raises:
        CalibrationError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
    except OSError as exc:
        raise CalibrationError(f"{path} cannot be written: {exc}; give another place with --output") from exc


def read_device_profile(path: Path) -> DeviceProfile:
    """Read a profile.

    Raises:
        CalibrationError: If it is missing, damaged, or of another version.
    """
    try:
        data = path.read_bytes()
        schema = msgspec.json.decode(data, type=_Header).schema
        profile = msgspec.json.decode(data, type=DeviceProfile) if schema == SCHEMA else None
    except FileNotFoundError as exc:
        raise CalibrationError(f"there is no {path}; make it with edge-vseg calibrate") from exc
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise CalibrationError(f"{path} is no device profile: {exc}; make it again with edge-vseg calibrate") from exc
    if profile is None:
        raise CalibrationError(f"{path} has schema {schema}, this version reads {SCHEMA}; calibrate again")
    return profile


def check_device_profile(profile: DeviceProfile, bundle_sha256: str, variant: Variant) -> None:
    """Refuse a profile of another bundle, variant or machine.

    Raises:
        CalibrationError: Saying which.
    """
    for what, theirs, ours in (
        ("bundle", profile.bundle_sha256, bundle_sha256),
        ("variant", profile.variant, variant.id),
        ("machine", profile.machine, machine_key()),
    ):
        if theirs != ours:
            raise CalibrationError(
                f"the device profile is of another {what} ({theirs[:40]}, not {ours[:40]}); calibrate again"
            )


def find_device_profile(
    path: Path | None, bundle: Path, bundle_sha256: str, variant: Variant, threads: int
) -> DeviceProfile | None:
    """The profile given, or the one beside the bundle, if there is one that fits.

    Raises:
        CalibrationError: If one was given and does not fit; one found beside the bundle is logged and left out.
    """
    if path is not None:
        profile = read_device_profile(path)
        check_device_profile(profile, bundle_sha256, variant)
        return profile
    beside = device_profile_path(bundle, variant.id, threads)
    try:
        if not beside.is_file():
            return None
        profile = read_device_profile(beside)
        check_device_profile(profile, bundle_sha256, variant)
    except (CalibrationError, OSError) as exc:
        log.warning("%s is not used: %s", beside, exc)
        return None
    return profile
