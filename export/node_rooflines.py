"""Time the nodes of validated variants, and say what bounds them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import onnx

from edge_vseg.bundle.manifest import Roofline, Variant
from edge_vseg.errors import EdgeVsegError
from edge_vseg.export.quantization.node_times import MIN_SHARE, profile_file, times_by_node
from edge_vseg.export.roofline import MachinePeaks, make_roofline, measure_peaks, node_work
from edge_vseg.export.variant_validation import ValidatedVariant
from edge_vseg.types import Image

log = logging.getLogger(__name__)
PROFILED = ("onnxruntime", "openvino")
"""Runtimes with a profiler that Python can use."""


def add_rooflines(
    root: Path, model: onnx.ModelProto, variants: Sequence[ValidatedVariant], frame: Image, threads: int
) -> list[ValidatedVariant]:
    """Fill in the roofline of the int8 and float variants that were timed here.

    Args:
        root: The folder that holds the variants' folders.
        model: The canonical graph.
        variants: The variants.
        frame: ``(H, W, 3)`` uint8 at the input size.
        threads: How many a graph gets.
    """
    timed = {each.variant.id for each in variants if _can_be_profiled(each.variant)}
    if not timed:
        return list(variants)
    peaks = measure_peaks(threads)
    found = []
    for each in variants:
        variant = each.variant
        roofline = _roofline(root, model, variant, frame, threads, peaks) if variant.id in timed else None
        found.append(replace(each, variant=msgspec.structs.replace(variant, roofline=roofline)))
    return found


def _can_be_profiled(variant: Variant) -> bool:
    timed = variant.parity is not None and variant.parity.latency_ms is not None
    return timed and variant.runtime in PROFILED and variant.precision in ("int8", "float")


def _roofline(
    root: Path, model: onnx.ModelProto, variant: Variant, frame: Image, threads: int, peaks: MachinePeaks
) -> Roofline | None:
    try:
        operators = profile_file(variant.runtime, root / variant.entry, variant.input, variant.output, frame, threads)
    except EdgeVsegError as exc:
        log.info("%s has no roofline: %s", variant.id, exc)
        return None
    times = times_by_node(operators, model.graph.node)
    if times.share < MIN_SHARE:
        log.info("%s has no roofline: only %.0f %% of its time bears names of nodes", variant.id, 100 * times.share)
        return None
    return make_roofline(variant.precision, variant.float_nodes, times.ms, node_work(model), peaks)
