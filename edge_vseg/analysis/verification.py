"""Verify a bundle on the machine that will run it."""

from __future__ import annotations

import sys

from edge_vseg.analysis.variant_check import VariantCheck, check_variant, read_check_frame
from edge_vseg.bundle import Bundle
from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import BackendCrashError, ProbeTimeoutError
from edge_vseg.open_options import DEFAULT_OPTIONS, OpenOptions
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.probing import FAILURES, ProbeRule
from edge_vseg.runtimes.selection.auto import gpu_providers
from edge_vseg.runtimes.selection.compatibility import split_by_fit

PROBES_PER_VARIANT = 5
"""One variant with all its parts may take so many times what one probe may."""


def check_files(bundle: Bundle) -> int:
    """Check the hash of every file of the bundle; returns the number of files.

    Raises:
        BundleFileError: If one differs from the manifest.
    """
    for relative in bundle.manifest.files:
        bundle.file(relative)
    return len(bundle.manifest.files)


def check_variants(
    bundle: Bundle,
    *,
    threads: int = 0,
    options: OpenOptions = DEFAULT_OPTIONS,
    limits: ProcessLimits | None = None,
) -> list[VariantCheck]:
    """Run every variant that this machine can open on the bundle's check frame, with its slices and tiles.

    Intact files can still give wrong labels, for example if a kernel saturates on this CPU. So each variant must agree
    with the float labels stored at export about as well as it did there, and its parts with the whole. Each is run in a
    child process, unless ``EDGE_VSEG_PROBE`` says ``never``: one that kills or blocks it is ``wrong``, too.

    Args:
        bundle: The bundle.
        threads: Worker threads; 0 leaves the choice to the runtime.
        options: The provider to open them on, and its options; nothing else is read. A variant whose runtime does not
            have the provider is skipped.
        limits: What one variant may take in the child process, whatever ``EDGE_VSEG_PROBE`` says; ``None`` for five
            times what it allows for a probe.

    Raises:
        BundleFileError: If the check frame cannot be read.
    """
    read_check_frame(bundle)
    variants, cpu = bundle.manifest.variants, cpu_features()
    fit, unfit = split_by_fit(variants, cpu, gpu_providers(variants, cpu))
    unfit |= {failure.id: failure.message for failure in bundle.manifest.failed}
    skipped = [VariantCheck(id=name, status="skipped", detail=reason) for name, reason in unfit.items()]
    rule = ProbeRule.of_environment()
    if not sys.executable or (limits is None and rule.when == "never"):
        return [*(check_variant(bundle, v, threads, options) for v in fit), *skipped]
    checks = []
    limits = limits or ProcessLimits(seconds=PROBES_PER_VARIANT * rule.seconds)
    with ChildProcess("its process", limits, FAILURES) as child:
        for variant in fit:
            try:
                checks.append(child.call(check_variant, bundle, variant, threads, options))
            except (BackendCrashError, ProbeTimeoutError) as exc:
                checks.append(VariantCheck(id=variant.id, status="wrong", detail=str(exc)))
    return [*checks, *skipped]
