"""Versions of the runtimes that a bundle may be opened with, for the keys of what is remembered between runs."""

from __future__ import annotations

from collections.abc import Iterable

from edge_vseg.bundle.manifest import Precision, Variant
from edge_vseg.errors import BackendError, OptionError
from edge_vseg.runtimes import get_runtime


def installed_versions(variants: Iterable[Variant]) -> list[tuple[str, str]]:
    """Name and version of every runtime that a variant is made for, in alphabetical order.

    Maps and milliseconds of one version are not those of another. Loads no runtime.

    Returns:
        Such as ``("onnxruntime", "onnxruntime 1.22.0")``; the kind of the error where none is installed.
    """
    return [(name, _version(name)) for name in sorted({variant.runtime for variant in variants})]


def choosable(
    variants: Iterable[Variant], *, runtime: str = "auto", precision: Precision | None = None, variant: str = ""
) -> list[Variant]:
    """The variants of a bundle that such a choice may open: no other runtime's version decides what comes of it."""
    if variant:
        return [each for each in variants if each.id == variant]
    return [each for each in variants if runtime in ("auto", each.runtime) and precision in (None, each.precision)]


def _version(runtime: str) -> str:
    try:
        return get_runtime(runtime).version()
    except (BackendError, OptionError) as exc:
        return type(exc).__name__
