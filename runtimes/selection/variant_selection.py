"""Select the variant to open: by its id, by runtime, or the fastest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Manifest, Precision, Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.probing import VariantProbe
from edge_vseg.runtimes.selection.auto import NO_NEED, Choice, choose_variant, describe_drop
from edge_vseg.runtimes.selection.compatibility import (
    fit_options,
    is_gpu,
    misfit_reason,
    split_by_fit,
    wants_gpu,
)
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed

Misfit: TypeAlias = Literal["refuse", "warn"]
"""What becomes of a variant that is asked for by its id and not made for this machine. Where another device's costs are
replayed its variant is opened all the same."""

logger = logging.getLogger(__name__)
STATUS_ORDER = ("ok", "slower-than-asked", "slower-than-float", "drop")
"""Usable variants of one precision, best first."""
PRECISION_ORDER = {"cpu": ("int8", "float", "float16"), "gpu": ("int8", "float16", "float")}
"""Precisions of one runtime, best first, by what they run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A variant, and how to open it.

    Attributes:
        variant: The variant.
        options: The caller's options, with the GPU provider filled in for a variant that wants it.
        choice: How ``runtime="auto"`` chose it; ``None`` if the caller did.
    """

    variant: Variant
    options: SessionOptions
    choice: Choice | None = None


def select_variant(
    bundle: Bundle,
    options: SessionOptions,
    *,
    runtime: str = "auto",
    precision: Precision | None = None,
    variant_id: str = "",
    misfit: Misfit = "refuse",
    need: ScheduleNeed = NO_NEED,
    cache: Path | None = None,
    probe: VariantProbe | None = None,
) -> Selection:
    """Select the variant to open.

    Args:
        bundle: The bundle.
        options: How its graphs will be opened.
        runtime: ``auto`` for the fastest variant that has what the schedule needs, or a runtime's name; see
            :func:`pick_variant`.
        precision: Consider only variants of this precision.
        variant_id: Take this variant, whatever ``runtime`` and ``precision`` say.
        misfit: What becomes of it if it is not made for this machine.
        need: What a schedule asks of the variant that ``auto`` chooses.
        cache: The file in which ``auto`` remembers its measurements; ``None`` for no memory.
        probe: Has ``auto`` open and time variants in a child process; ``None`` for this one.

    Raises:
        BundleFileError: If ``auto`` would time a file that is missing or damaged.
        ManifestError: If there is no variant of that id.
        BackendError: If nothing can be opened here, or the variant of that id is not made for this machine; the message
            has the reason for each variant and the pip lines.
        OptionError: If there is no such runtime, or nothing of that runtime and precision.
    """
    manifest = bundle.manifest
    if variant_id:
        selection = _select_by_id(manifest, manifest.variant(variant_id), options, misfit)
    elif runtime == "auto":
        for candidate in manifest.variants:
            if precision in (None, candidate.precision):
                bundle.entry(candidate)
        choice = choose_variant(bundle, options=options, precision=precision, need=need, cache=cache, probe=probe)
        selection = Selection(variant=choice.variant, options=choice.options, choice=choice)
    else:
        selection = pick_variant(manifest, runtime, precision, options)
    # auto has said it itself, and what opens every variant by its id, such as verify or tune, has no use for the advice
    # to choose another; wrong labels it wants to know of.
    if selection.choice is None and (not variant_id or selection.variant.status == "drop"):
        _warn_of(selection)
    return selection


def _select_by_id(manifest: Manifest, variant: Variant, options: SessionOptions, misfit: Misfit) -> Selection:
    reason = "" if is_gpu(options.provider) else misfit_here(manifest, variant)  # which says nothing about CPU kernels
    if reason and misfit == "refuse":
        raise BackendError(
            f"{variant.id!r} of bundle {manifest.name!r} does not fit this machine: {reason}; leave the choice to"
            " runtime='auto', or export for this machine"
        )
    if reason:
        logger.warning(
            "%s does not fit this machine (%s): its labels may be worse here than on the device whose costs are"
            " replayed",
            variant.id,
            reason,
        )
    return Selection(variant=variant, options=fit_options(variant, options, _providers(variant)))


def misfit_here(manifest: Manifest, variant: Variant) -> str:
    """Why a variant of a bundle gives wrong labels on this machine's CPU, or crawls; empty if it does neither.

    Raises:
        BackendMissingError: If it is made for a GPU, and its runtime is not installed.
    """
    return misfit_reason(variant, manifest.variants, cpu_features(), _providers(variant))


def _providers(variant: Variant) -> tuple[str, ...]:
    # Asking for them loads the runtime, and only variants for the GPU of a Jetson need to know them.
    on_jetson = wants_gpu(variant) and cpu_features().architecture == "arm64"
    return tuple(get_runtime(variant.runtime).providers()) if on_jetson else ()


def _warn_of(selection: Selection) -> None:
    """Say what the export found, or the caller sees wrong labels and does not know why."""
    variant = selection.variant
    if variant.status == "drop":
        logger.warning(
            "%s; its labels are worse than the network's. Open another variant, or leave the choice to runtime='auto'",
            describe_drop(variant),
        )
    elif variant.status == "slower-than-float" and not is_gpu(selection.options.provider):  # exports time on a CPU
        logger.warning(
            "%s was slower than float at export%s; leave the choice to runtime='auto', or take float",
            variant.id,
            f" ({variant.reason})" if variant.reason else "",
        )


def pick_variant(manifest: Manifest, runtime: str, precision: Precision | None, options: SessionOptions) -> Selection:
    """Pick a runtime's best variant for this machine without timing: GPU before CPU, int8 before float.

    float16 comes before float on a GPU, and after it on a CPU.

    Raises:
        OptionError: If there is no such runtime, or the bundle has nothing for it and the precision.
        BackendError: If the bundle has variants for it, but none that fits this machine.
    """
    backend, cpu = get_runtime(runtime), cpu_features()
    candidates = [v for v in manifest.variants if v.runtime == runtime and precision in (None, v.precision)]
    failed = [f for f in manifest.failed if f.runtime == runtime and precision in (None, f.precision)]
    if not candidates and not failed:
        available = ", ".join(v.id for v in manifest.variants)
        request = f"{runtime} {precision}" if precision else runtime
        raise OptionError(f"bundle {manifest.name!r} has nothing for {request}; it has: {available}")
    # Asking for providers loads the runtime, and only variants for a GPU need to know them.
    needs_gpu = cpu.architecture == "arm64" and any(map(wants_gpu, candidates))
    providers = backend.providers() if needs_gpu else ()
    fit, unfit = split_by_fit(candidates, cpu, {runtime: providers})
    if not fit:
        unfit |= {failure.id: failure.message for failure in failed}
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unfit.items())
        raise BackendError(
            f"no {runtime} graph of bundle {manifest.name!r} fits this machine: {reasons};"
            " choose another runtime, or export for this machine"
        )
    on_gpu = any(is_gpu(fit_options(v, options, providers).provider) for v in fit)
    precisions = PRECISION_ORDER["gpu" if on_gpu else "cpu"]
    best = min(
        fit, key=lambda v: (precisions.index(v.precision), v.target != "jetson", STATUS_ORDER.index(v.status))
    )  # fmt: skip
    return Selection(variant=best, options=fit_options(best, options, providers))
