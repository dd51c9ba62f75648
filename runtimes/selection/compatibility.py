"""Which variants of a bundle are made for this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edge_vseg.bundle.manifest import Variant
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.port import SessionOptions

GPU_PROVIDERS = ("tensorrt", "cuda")
"""Providers for ``jetson`` variants, and for float16 ones on a Jetson, best first."""
_TENSORRT_DEFAULTS = {"int8": {"trt_int8_enable": "1"}, "float16": {"trt_fp16_enable": "1"}}
"""TensorRT reads the scales of a QDQ graph in its int8 mode only, and float16 kernels in its float16 mode."""


def split_by_fit(
    variants: Sequence[Variant], cpu: CpuInfo, providers: Mapping[str, Sequence[str]]
) -> tuple[list[Variant], dict[str, str]]:
    """Split variants into those made for this machine and the others.

    If two variants of one runtime and precision fit an x86 CPU, only the one with the right weight range is kept: the
    full range overflows 16-bit sums on a CPU without VNNI (fast, but wrong), and the reduced range wastes a bit on a
    CPU with it.

    Args:
        variants: The manifest's variants.
        cpu: This machine's CPU.
        providers: Available providers of each runtime that has a variant for the GPU of a Jetson.

    Returns:
        The variants that fit, in the manifest's order, and the reasons by id for the others.
    """
    fit: list[Variant] = []
    unfit: dict[str, str] = {}
    for variant in variants:
        reason = unfit_reason(variant, cpu, providers.get(variant.runtime, ()))
        if reason:
            unfit[variant.id] = reason
        else:
            fit.append(variant)
    loser, winner = ("x86_64-avx2", "x86_64") if cpu.has_vnni else ("x86_64", "x86_64-avx2")
    better = {(v.runtime, v.precision): v for v in fit if v.target == winner}
    for variant in [v for v in fit if v.target == loser and (v.runtime, v.precision) in better]:
        fit.remove(variant)
        other = better[variant.runtime, variant.precision].id
        unfit[variant.id] = f"the CPU has {'' if cpu.has_vnni else 'no '}VNNI, which {other!r} is made for"
    return fit, unfit


def wants_gpu(variant: Variant) -> bool:
    """Whether a variant is opened on the GPU of a Jetson without being asked to; a CPU gains nothing by float16."""
    return variant.target == "jetson" or (variant.runtime == "onnxruntime" and variant.precision == "float16")


def is_gpu(provider: str) -> bool:
    """Whether a provider or device is one that computes in float16 faster than in float32."""
    return provider.lower() in GPU_PROVIDERS or provider.upper().startswith(("GPU", "NPU"))


def fit_options(variant: Variant, options: SessionOptions, providers: Sequence[str]) -> SessionOptions:
    """The caller's options, with the GPU provider filled in for a variant that wants it, and the mode it needs there.

    Args:
        variant: The variant to open.
        options: The caller's; a provider that is set stays, and so do its options.
        providers: Providers of the variant's runtime on a Jetson; empty elsewhere.
    """
    provider = options.provider
    if not provider and wants_gpu(variant):
        provider = next((name for name in GPU_PROVIDERS if name in providers), "")
    defaults: dict[str, str] = {}
    if provider == "tensorrt" and wants_gpu(variant):
        defaults = _TENSORRT_DEFAULTS.get(variant.precision, {})
    if provider == options.provider and not defaults:
        return options
    return replace(options, provider=provider, provider_options=defaults | dict(options.provider_options))


def unfit_reason(variant: Variant, cpu: CpuInfo, providers: Sequence[str]) -> str:
    """Why a variant does not fit this machine; empty if it does.

    Args:
        variant: The variant.
        cpu: This machine's CPU.
        providers: Available providers of the variant's runtime; used for ``jetson`` only.
    """
    reason = _target_reason(variant.target, cpu, providers) or _kernel_reason(variant, cpu)
    missing = [feature for feature in variant.requires if not cpu.has(feature)]
    if not reason and missing:
        reason = f"the CPU lacks {', '.join(missing)}"
    return reason


def misfit_reason(variant: Variant, variants: Sequence[Variant], cpu: CpuInfo, providers: Sequence[str]) -> str:
    """Why a variant that is asked for by its id gives wrong labels here, or crawls; empty if it does neither.

    Milder than :func:`split_by_fit`: a reduced range of weights is right on a CPU with VNNI, too.

    Args:
        variant: The variant.
        variants: All of the manifest's.
        cpu: This machine's CPU.
        providers: As for :func:`unfit_reason`.
    """
    reason = unfit_reason(variant, cpu, providers)
    if reason or cpu.has_vnni:
        return reason
    return split_by_fit(variants, cpu, {variant.runtime: providers})[1].get(variant.id, "")


def _kernel_reason(variant: Variant, cpu: CpuInfo) -> str:
    # OpenVINO opens no int8 graph there from 2026.3 on, and older versions took longer for it than for the float graph.
    # A system that does not report features, as macOS, gets the benefit of the doubt.
    if (variant.runtime, variant.precision) == ("openvino", "int8") and cpu.has("asimd") and not cpu.has_dotprod:
        return "the CPU lacks dotprod, without which int8 does not open in OpenVINO, or is no faster than float"
    return ""


def _target_reason(target: str, cpu: CpuInfo, providers: Sequence[str]) -> str:
    match target:
        case "any":
            return ""
        case "x86_64" | "arm64":
            return "" if cpu.architecture == target else f"made for {target}, this is {cpu.architecture}"
        case "x86_64-avx2":
            if cpu.architecture != "x86_64":
                return f"made for x86_64, this is {cpu.architecture}"
            return "" if cpu.has("avx2") else "the CPU lacks avx2"
        case "jetson":
            if cpu.architecture != "arm64":
                return f"made for jetson (arm64), this is {cpu.architecture}"
            if not any(name in providers for name in GPU_PROVIDERS):
                return "made for jetson, and the runtime here has neither the tensorrt nor the cuda provider"
            return ""
        case _:
            return f"unknown target {target!r}"
