"""Select the variant to open: by its id, by runtime, or the fastest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Manifest, Precision, Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.port import SessionOptions
from edge_vseg.runtimes.probing import VariantProbe
from edge_vseg.runtimes.selection.auto import NO_NEED, Choice, choose_variant, describe_drop
from edge_vseg.runtimes.selection.compatibility import fit_options, is_gpu, split_by_fit, wants_gpu
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed

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
        need: What a schedule asks of the variant that ``auto`` chooses.
        cache: The file in which ``auto`` remembers its measurements; ``None`` for no memory.
        probe: Has ``auto`` open and time variants in a child process; ``None`` for this one.

    Raises:
        BundleFileError: If ``auto`` would time a file that is missing or damaged.
        ManifestError: If there is no variant of that id.
        BackendError: If nothing can be opened here; the message has the reason for each variant and the pip lines.
        OptionError: If there is no such runtime, or nothing of that runtime and precision.
    """
    manifest = bundle.manifest
    if variant_id:
        variant = manifest.variant(variant_id)
        on_jetson = variant.target == "jetson" or (wants_gpu(variant) and cpu_features().architecture == "arm64")
        providers = get_runtime(variant.runtime).providers() if on_jetson else ()
        selection = Selection(variant=variant, options=fit_options(variant, options, providers))
    elif runtime == "auto":
        for candidate in manifest.variants:
            if precision in (None, candidate.precision):
                bundle.entry(candidate)
        choice = choose_variant(bundle, options=options, precision=precision, need=need, cache=cache, probe=probe)
        selection = Selection(variant=choice.variant, options=choice.options, choice=choice)
    else:
        selection = pick_variant(manifest, runtime, precision, options)
    if selection.choice is None:  # auto has said it itself
        _warn_of(selection)
    return selection


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
