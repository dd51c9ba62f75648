"""Write slices, run them and time them: what may take its process along, by a crash, a hang or all of the memory.

For OpenVINO and TFLite it runs in a child process, so all that goes in and comes out can be pickled.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.errors import ExportError
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.slice_files import Canonical, write_slices
from edge_vseg.export.quantization.activations import winning_classes
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Image, Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeVariant:
    """A variant that is to be cut.

    Attributes:
        root: The folder that holds the variants' folders.
        variant: The variant, whose whole graph is written.
        canonical: What it was made from.
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size.
        thresholds: What is accepted.
    """

    root: Path
    variant: Variant
    canonical: Canonical
    frames: Sequence[Image]
    thresholds: ExportThresholds


def write_parts(whole: WholeVariant, parts: Sequence[Part]) -> tuple[Slice, ...]:
    """Write the slices beside the whole graph.

    Raises:
        ExportError: If the graph cannot be cut there.
    """
    return write_slices(whole.root, whole.variant, parts, whole.canonical)


def time_parts(whole: WholeVariant, parts: Sequence[Part]) -> list[float]:
    """Shortest time of each part in ms; leaves no files."""
    variant = whole.variant
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        root = Path(scratch)
        shutil.copytree(whole.root / variant.id, root / variant.id)
        slices = write_slices(root, variant, parts, whole.canonical)
        sessions = [_open(stack, root, whole, part) for part in slices]
        rounds = range(whole.thresholds.timing_rounds)
        runs = [_run_chain(variant, slices, sessions, whole.frames[0])[1] for _ in rounds]
    return [float(t) for t in np.min(runs, axis=0)]


def write_and_compare(whole: WholeVariant, parts: Sequence[Part], timed: bool) -> Variant:
    """The variant with these slices, written beside its whole graph.

    Args:
        whole: The variant.
        parts: The slices.
        timed: Whether its times on this machine mean anything.

    Raises:
        ExportError: If the graph cannot be cut there, or the slices give other classes than the whole graph.
    """
    variant, limits = whole.variant, whole.thresholds
    slices = write_parts(whole, parts)
    with ExitStack() as stack:
        uncut = Slice(entry=variant.entry, inputs=(variant.input,), outputs=(variant.output,))
        session = _open(stack, whole.root, whole, uncut)
        sessions = [_open(stack, whole.root, whole, part) for part in slices]
        same = []
        for frame in whole.frames:
            expected, _ = _run_chain(variant, (uncut,), [session], frame)
            chained, _ = _run_chain(variant, slices, sessions, frame)
            maps = [winning_classes(outputs[variant.output.name]) for outputs in (expected, chained)]
            same.append(np.mean(maps[0] == maps[1]))
        if np.mean(same) < limits.slice_agreement:
            raise ExportError(f"the slices agree with the whole graph in only {np.mean(same):.2%} of the pixels")
        sliced = msgspec.structs.replace(variant, slices=slices)
        if not timed:
            return sliced
        frame = whole.frames[0]
        alone_ms, chained_ms = [], []
        for _ in range(limits.timing_rounds):
            alone_ms.append(_run_chain(variant, (uncut,), [session], frame)[1][0])
            chained_ms.append(_run_chain(variant, slices, sessions, frame)[1])
    # The shortest of many runs: what else the machine does only ever adds.
    overhead = min(map(sum, chained_ms)) / min(alone_ms) - 1
    measured = tuple(
        msgspec.structs.replace(part, latency_ms=statistics.median(run[at] for run in chained_ms))
        for at, part in enumerate(slices)
    )
    return msgspec.structs.replace(sliced, slices=measured, slice_overhead=max(0.0, overhead))


def _open(stack: ExitStack, root: Path, whole: WholeVariant, part: Slice) -> Session:
    options = SessionOptions(threads=min(whole.thresholds.max_timing_threads, usable_cores()))
    spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
    session = get_runtime(whole.variant.runtime).open(root / part.entry, spec, options)
    stack.callback(session.close)
    return session


def _run_chain(
    variant: Variant, slices: Sequence[Slice], sessions: Sequence[Session], frame: Image
) -> tuple[dict[str, Tensor], list[float]]:
    """All outputs of the slices for a frame by name, and the milliseconds that each slice takes."""
    values: dict[str, Tensor] = {variant.input.name: frame[None]}
    times = []
    for part, session in zip(slices, sessions, strict=True):
        begin = time.perf_counter_ns()
        values |= session.run({tensor.name: values[tensor.name] for tensor in part.inputs})
        times.append((time.perf_counter_ns() - begin) / 1e6)
    return values, times
