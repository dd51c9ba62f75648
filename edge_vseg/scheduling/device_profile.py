"""Device profiles: step costs and drift of a variant on one machine, measured by ``edge-vseg calibrate``."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from edge_vseg.bundle.manifest import Variant
from edge_vseg.bundle.manifest.tensors import Milliseconds
from edge_vseg.errors import CalibrationError
from edge_vseg.files import make_folder, write_whole
from edge_vseg.input_files import read_regular, strict_json
from edge_vseg.runtimes.cpu import cpu_features, cpu_list, usable_cores
from edge_vseg.runtimes.selection.compatibility import is_gpu
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.drift import DriftModel
from edge_vseg.scheduling.situation import DEFAULT_AGING, Aging
from edge_vseg.scheduling.steps import Step, StepKind

log = logging.getLogger(__name__)

SCHEMA = 3
FOLDER_SUFFIX = ".calibration"


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Duration of a step in ms.

    ``runs`` is the number of samples; ``p50``, ``p90`` and ``p99`` are percentiles.
    """

    runs: Annotated[int, msgspec.Meta(ge=0)]
    p50: Milliseconds
    p90: Milliseconds
    p99: Milliseconds


class DriftFit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well the drift model predicts frames that it was not fitted to.

    ``frames`` is the number of these frames; ``correlation`` that of predicted and true drift by frame; ``mean_error``
    their mean absolute difference and ``mean_drift`` the mean of the true one, both as shares of pixels, 0 to 1.
    """

    frames: int
    correlation: float
    mean_error: float
    mean_drift: float


class Contention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How frames and a keyframe in the background slow each other down while both run: factors on durations.

    1 is not at all.
    """

    frame: float = 1.0
    background: float = 1.0


class DeviceProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Costs and drift of one variant on one machine.

    Attributes:
        schema: Version of the file.
        bundle_sha256: SHA-256 of the bundle's manifest.
        variant: Id of the variant.
        machine: See :func:`machine_key`.
        threads: Worker threads during calibration.
        provider: Provider, device or delegate that was asked for; empty for the one that is opened without asking.
        runtime: Distribution and version of the runtime.
        video: Name of the sample video.
        costs: Cost by step; see :mod:`edge_vseg.scheduling.steps`.
        drift: The fitted drift model.
        aging: How contexts and tiles age on the sample video.
        fit: Accuracy of the drift model; ``None`` if the video was too short to tell.
        contention: Of frames with a keyframe in the background; ``None`` if there is no core for one.
    """

    schema: int = SCHEMA
    bundle_sha256: str
    variant: str
    machine: str
    threads: int
    provider: str = ""
    runtime: str
    video: str
    costs: dict[str, Cost]
    drift: DriftModel
    aging: Aging = DEFAULT_AGING
    fit: DriftFit | None = None
    contention: Contention | None = None

    @property
    def expected_ms(self) -> dict[Step, float]:
        """Median milliseconds by step."""
        return {Step.named(name): cost.p50 for name, cost in self.costs.items()}

    @property
    def cores(self) -> int:
        """Cores of the device; of this machine if its name does not say."""
        found = re.search(r"-(\d{1,4})-[0-9a-f]{8}$", self.machine)
        return int(found[1]) if found and int(found[1]) else usable_cores()

    def with_slower_network(self, factor: float) -> DeviceProfile:
        """The profile of a network that takes so many times as long; everything else costs the same."""

        def scaled(name: str, cost: Cost) -> Cost:
            if Step.named(name).kind not in steps.NETWORK:
                return cost
            return Cost(runs=cost.runs, p50=factor * cost.p50, p90=factor * cost.p90, p99=factor * cost.p99)

        return msgspec.structs.replace(self, costs={name: scaled(name, cost) for name, cost in self.costs.items()})

    def with_options(self, *, guided: bool, companion_sha256: str | None) -> DeviceProfile:
        """The profile of a run with guided borders or a companion, if their costs were calibrated."""
        costs = dict(self.costs)
        if guided and steps.GUIDED_LABELS in costs:
            costs[steps.LABELS] = costs[steps.GUIDED_LABELS]
        if companion_sha256 is not None and (step := steps.companion_step(companion_sha256)) in costs:
            costs[steps.COMPANION] = costs[step]
        return msgspec.structs.replace(self, costs=costs)

    @property
    def min_deadline_ms(self) -> float:
        """The shortest deadline that makes sense here.

        It has time for the cheapest motion, a propagated map and the slowest slice, or for the whole network in 99 of
        100 frames if that is less. Without slices the network runs in the background if there is a core for that, and
        the deadline needs no time for it.
        """
        costs = {Step.named(name): cost for name, cost in self.costs.items()}
        p50_ms = {step: cost.p50 for step, cost in costs.items()}
        p90_ms = {step: cost.p90 for step, cost in costs.items()}
        whole_ms = _frame_ms(p50_ms, (steps.PREPROCESS, steps.DECIDE, steps.FUSE, steps.LABELS))
        whole_ms += costs[steps.INFER].p99 if steps.INFER in costs else math.inf
        propagated_ms = _frame_ms(p90_ms, (steps.PREPROCESS, steps.DECIDE, steps.PROPAGATE, steps.FUSE, steps.LABELS))
        slices_ms = [ms for step, ms in p90_ms.items() if step.kind is StepKind.SLICE]
        if slices_ms:
            return min(whole_ms, propagated_ms + max(slices_ms))
        if self.contention is not None:
            return min(whole_ms, propagated_ms * self.contention.frame)
        return min(whole_ms, propagated_ms + p90_ms.get(steps.INFER, 0.0))


def _frame_ms(costs_ms: Mapping[Step, float], parts: Sequence[Step]) -> float:
    """The cheapest motion, and what else a frame consists of."""
    motion_ms = min((ms for step, ms in costs_ms.items() if step.kind is StepKind.MOTION), default=0.0)
    return motion_ms + sum(costs_ms.get(step, 0.0) for step in parts)


class _Header(msgspec.Struct):
    """The part that every version of the file has; read first."""

    schema: int


def machine_key() -> str:
    """Name of this machine for files: CPU model, usable cores, and a fingerprint of the CPU's features."""
    cpu = cpu_features()
    model = re.sub(r"[^a-z0-9]+", "-", cpu.model.lower()).strip("-") or cpu.architecture
    return f"{model[:40]}-{usable_cores()}-{cpu.fingerprint()[:8]}"


def provider_key(asked: str, active: str = "") -> str:
    """Name of a provider in profiles: lower case, and empty for the CPU's.

    Args:
        asked: What the caller has asked for; empty for the runtime's own choice.
        active: What was opened: a GPU that is taken unasked, as a Jetson's is, counts as asked for.
    """
    key = (asked.strip() or (active if is_gpu(active) else "")).lower()
    return "" if key == "cpu" else key


def profile_folder(bundle: Path) -> Path:
    """The folder beside a bundle that holds its device profiles; the bundle is never changed."""
    absolute = bundle.absolute() if bundle.name not in ("", "..") else bundle.resolve()
    return absolute.with_name(absolute.name + FOLDER_SUFFIX)


def device_profile_path(bundle: Path, variant: str, threads: int, provider: str = "") -> Path:
    """Path of a variant's profile for this machine, in a folder beside the bundle; the bundle is never changed."""
    return profile_folder(bundle) / _file_name(machine_key(), variant, threads, provider)


def place_of_profile(bundle: Path, profile: DeviceProfile) -> Path:
    """The path beside a bundle at which the machine of a profile, this one or another, looks for it."""
    name = _file_name(profile.machine, profile.variant, profile.threads, profile.provider)
    return profile_folder(bundle) / name


def _file_name(machine: str, variant: str, threads: int, provider: str) -> str:
    on = re.sub(r"[^a-z0-9]+", "-", provider_key(provider))
    return f"{machine}_{_file_part(variant)}_t{threads}{'_' * bool(on)}{on}.json"


def _file_part(variant: str) -> str:
    return variant.replace("/", "_")


def write_device_profile(path: Path, profile: DeviceProfile) -> None:
    """Write a device profile atomically, with its folder if need be.

    Raises:
        OutputError: If it cannot be written.
    """
    make_folder(path.parent)
    write_whole(path, msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")


def read_device_profile(path: Path) -> DeviceProfile:
    """Read a device profile.

    Raises:
        CalibrationError: If it is missing, damaged, or of another schema.
    """
    try:
        tree = strict_json(read_regular(path))
        schema = msgspec.convert(tree, _Header).schema
        profile = msgspec.convert(tree, DeviceProfile) if schema == SCHEMA else None
        for name in profile.costs if profile else ():
            Step.named(name)
    except FileNotFoundError as exc:
        raise CalibrationError(f"{path} does not exist; make it with edge-vseg calibrate") from exc
    except (OSError, ValueError, msgspec.ValidationError) as exc:
        raise CalibrationError(f"{path} is no device profile: {exc}; calibrate again") from exc
    if profile is None:
        raise CalibrationError(f"{path} has schema {schema}, this version reads {SCHEMA}; calibrate again")
    return profile


def check_device_profile(profile: DeviceProfile, bundle_sha256: str, variant: Variant, provider: str = "") -> None:
    """Raise CalibrationError if a profile is of another bundle, variant, machine or provider."""
    for part, theirs, ours in (
        ("bundle", profile.bundle_sha256, bundle_sha256),
        ("variant", profile.variant, variant.id),
        ("machine", profile.machine, machine_key()),
        ("provider", profile.provider or "cpu", provider_key(provider) or "cpu"),
    ):
        if theirs != ours:
            raise CalibrationError(
                f"the device profile is of another {part} ({theirs[:40]}, not {ours[:40]}); calibrate again"
            )


def _warn_of_others(bundle: Path, variant: str, threads: int, provider: str) -> None:
    """Say which profiles of a variant on this CPU there are, if any: with other threads, providers or cores."""
    model, here, features = machine_key().rsplit("-", 2)
    ours = re.compile(
        rf"{re.escape(model)}-(\d+)-{re.escape(features)}_{re.escape(_file_part(variant))}_t(\d+)(?:_(.+))?"
    )
    names = sorted(path.stem for path in profile_folder(bundle).glob("*.json"))
    found = [match.groups("") for match in map(ours.fullmatch, names) if match]
    if not found:
        _warn_of_other_variants(bundle, variant)
        return
    on_others = any(cores != here for cores, _, _ in found)
    advice = "calibrate as you run, or run as you calibrated"
    if on_others:
        advice = f"calibrate on the cores that it runs on: taskset -c {cpu_list()} edge-vseg calibrate ..."
    log.warning(
        "there is no device profile for %s, only for %s; %s",
        _conditions(here if on_others else "", str(threads), provider_key(provider)),
        " and ".join(_conditions(cores if on_others else "", *rest) for cores, *rest in found),
        advice,
    )


def _warn_of_other_variants(bundle: Path, variant: str) -> None:
    """Say which variants this machine has profiles of: ``auto`` chooses by the deadline, which calibrate knows not."""
    others = set()
    for path in profile_folder(bundle).glob("*.json"):
        with contextlib.suppress(CalibrationError):
            profile = read_device_profile(path)
            if profile.machine == machine_key():
                others.add(profile.variant)
    if not others:
        return
    log.warning(
        "there is no device profile for %s, only for %s; calibrate with %s, or run with %s",
        variant,
        " and ".join(sorted(others)),
        _chosen_by(variant),
        " or ".join(_chosen_by(other) for other in sorted(others)),
    )


def _chosen_by(variant: str) -> str:
    """The options that choose a variant."""
    runtime, _, rest = variant.partition("/")
    return f"--runtime {runtime} --precision {rest.partition('-')[0]}"


def _conditions(cores: str, threads: str, provider: str) -> str:
    on = f" on {cores} core{'s' * (cores != '1')}" if cores else ""
    return f"--threads {threads}" + (f" --provider {provider}" if provider else "") + on


def find_device_profile(
    path: Path | None,
    bundle: Path,
    bundle_sha256: str,
    variant: Variant,
    threads: int,
    provider: str = "",
    *,
    wanted: bool = False,
) -> DeviceProfile | None:
    """Read the device profile at ``path``, or the one beside the bundle if ``path`` is ``None``.

    Each number of threads, each number of cores and each provider has a profile of its own. Without one, costs are
    learnt while the network runs; if one is ``wanted`` and only others lie there, a warning says which.

    Returns:
        The profile; ``None`` if there is none beside the bundle, or, with a warning, if it does not fit.

    Raises:
        CalibrationError: If the one at ``path`` does not fit.
    """
    if path is not None:
        profile = read_device_profile(path)
        check_device_profile(profile, bundle_sha256, variant, provider)
        if profile.threads != threads:
            log.warning("%s was measured with %d threads, and %d are used", path, profile.threads, threads)
        return profile
    beside = device_profile_path(bundle, variant.id, threads, provider)
    try:
        if not beside.is_file():
            if wanted:
                _warn_of_others(bundle, variant.id, threads, provider)
            return None
        profile = read_device_profile(beside)
        check_device_profile(profile, bundle_sha256, variant, provider)
    except (CalibrationError, OSError) as exc:
        log.warning("%s is not used: %s", beside, exc)
        return None
    return profile
