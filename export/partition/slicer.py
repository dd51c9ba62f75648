"""Cut variants into slices, and compare them with the whole graph in outputs and time."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import onnx

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.errors import EdgeVsegError, ExportError
from edge_vseg.export.error_text import failure_reason
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.partition.chain import ANYWHERE, Chain, CutRules, Part, plan_chain
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.feature_reuse import Stages, cut_at, find_reuse_cut
from edge_vseg.export.partition.slice_files import Canonical, write_slices
from edge_vseg.export.quantization.activations import winning_classes
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Image, Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceSpec:
    """How variants are cut, and compared with their whole graphs.

    Attributes:
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size.
        carried: Tensors of the float graph that may be carried over; empty to find one.
        thresholds: What is accepted.
    """

    frames: Sequence[Image]
    carried: Sequence[str]
    thresholds: ExportThresholds


class Slicer:
    """Slices variants of one network.

    Args:
        model: The float graph.
        root: The folder that holds the variants' folders.
        spec: How.
        equalized: Gives the equalized graph that the int8 variants were made from.

    Raises:
        ExportError: If ``spec.carried`` leaves a stage empty.
    """

    def __init__(
        self, model: onnx.ModelProto, root: Path, spec: SliceSpec, equalized: Callable[[], onnx.ModelProto]
    ) -> None:
        self._model = model
        self._carried = spec.carried
        self._frames = spec.frames
        self._limits = spec.thresholds
        self._equalized = equalized
        self._root = root
        self._options = SessionOptions(threads=min(spec.thresholds.max_timing_threads, usable_cores()))
        if spec.carried and self._stages is None:
            raise ExportError(
                f"carrying {', '.join(spec.carried)} leaves nothing after it, beside it, or to be carried"
            )

    @cached_property
    def _flow(self) -> DataFlow:
        return DataFlow(self._model)

    @cached_property
    def _stages(self) -> Stages | None:
        return cut_at(self._flow, self._carried) if self._carried else find_reuse_cut(self._flow)

    def slice(self, variant: Variant, timed: Variant | None) -> Variant:
        """The variant with its slices written, or with the reason why it has none.

        Args:
            variant: A variant whose whole graph is written.
            timed: The variant whose times say where to cut: itself, or the float graph of its runtime where it is
                meant for another machine; ``None`` cuts by multiply-accumulates.
        """
        self._remove(variant, ())
        variant = msgspec.structs.replace(variant, slices=(), context=None, unsliced="", slice_overhead=None)
        try:
            return self._slice(variant, timed)
        except Exception as exc:  # runtimes raise kinds of their own; the whole graph is worth a bundle without slices
            reason = failure_reason(exc)
            log.info("%s has no slices: %s", variant.id, reason, exc_info=not isinstance(exc, EdgeVsegError))
            self._remove(variant, ())
            return msgspec.structs.replace(variant, unsliced=reason)

    def _slice(self, variant: Variant, timed: Variant | None) -> Variant:
        measure, rules = self._stopwatch(timed), self._rules(variant)
        tried: list[tuple[Chain, Variant]] = []
        chains: list[Chain] = []
        refused = "no place to cut: everywhere too many or too large tensors cross"
        for count in self._limits.slice_counts:
            chain = plan_chain(self._flow, self._stages, count, measure, rules)
            if chain is None or chain in chains:
                continue
            chains.append(chain)
            slices = self._write(self._root, variant, chain.parts)
            try:
                made = self._compare_with_whole(variant, slices, timed=timed is not None and timed.id == variant.id)
            except ExportError as exc:  # fewer cuts may agree
                refused = str(exc)
                continue
            tried.append((chain, made))
            if (made.slice_overhead or 0.0) <= self._limits.slice_overhead:
                break
        if not tried:
            raise ExportError(refused)
        chain, best = min(tried, key=lambda each: slicing_rank(each[1], self._limits.slice_share))
        if chain is not chains[-1]:
            self._write(self._root, variant, chain.parts)
        if (best.slice_overhead or 0.0) > self._limits.slice_overhead:
            log.warning(
                "%s: its slices take %.0f %% longer than the whole", variant.id, 100 * (best.slice_overhead or 0)
            )
        self._remove(variant, best.slices)
        return msgspec.structs.replace(best, context=chain.context)

    def _rules(self, variant: Variant) -> CutRules:
        """Where the variant's graph may be cut."""
        if variant.runtime != "openvino":
            return ANYWHERE
        from edge_vseg.export.partition.openvino_fusion import openvino_rules
        from edge_vseg.export.quantization.openvino_qdq import read_openvino

        return openvino_rules(self._flow, read_openvino(self._root / variant.entry))

    def _stopwatch(self, timed: Variant | None) -> Callable[[Sequence[Part]], Sequence[float]]:
        """Times parts, once: they are the same for every number of slices."""
        times: list[float] = []

        def measure(parts: Sequence[Part]) -> Sequence[float]:
            if not times and timed is not None:
                times.extend(self._time_parts(timed, parts))
            elif not times:
                times.extend(1 + self._flow.cost(self._flow.ancestors(part.outputs, part.inputs)) for part in parts)
            return times

        return measure

    def _time_parts(self, variant: Variant, parts: Sequence[Part]) -> list[float]:
        """Shortest time of each part in ms."""
        with TemporaryDirectory() as scratch, ExitStack() as stack:
            root = Path(scratch)
            shutil.copytree(self._root / variant.id, root / variant.id)
            slices = self._write(root, variant, parts)
            sessions = [self._open(stack, root, variant, part) for part in slices]
            rounds = range(self._limits.timing_rounds)
            runs = [self._run_chain(variant, slices, sessions, self._frames[0])[1] for _ in rounds]
        return [float(t) for t in np.min(runs, axis=0)]

    def _compare_with_whole(self, variant: Variant, slices: tuple[Slice, ...], *, timed: bool) -> Variant:
        with ExitStack() as stack:
            whole = Slice(entry=variant.entry, inputs=(variant.input,), outputs=(variant.output,))
            session = self._open(stack, self._root, variant, whole)
            sessions = [self._open(stack, self._root, variant, part) for part in slices]
            same = []
            for frame in self._frames:
                expected, _ = self._run_chain(variant, (whole,), [session], frame)
                chained, _ = self._run_chain(variant, slices, sessions, frame)
                maps = [winning_classes(outputs[variant.output.name]) for outputs in (expected, chained)]
                same.append(np.mean(maps[0] == maps[1]))
            if np.mean(same) < self._limits.slice_agreement:
                raise ExportError(f"the slices agree with the whole graph in only {np.mean(same):.2%} of the pixels")
            sliced = msgspec.structs.replace(variant, slices=slices)
            if not timed:
                return sliced
            frame = self._frames[0]
            alone_ms, chained_ms = [], []
            for _ in range(self._limits.timing_rounds):
                alone_ms.append(self._run_chain(variant, (whole,), [session], frame)[1][0])
                chained_ms.append(self._run_chain(variant, slices, sessions, frame)[1])
        # The shortest of many runs: what else the machine does only ever adds.
        overhead = min(map(sum, chained_ms)) / min(alone_ms) - 1
        parts = tuple(
            msgspec.structs.replace(part, latency_ms=statistics.median(run[at] for run in chained_ms))
            for at, part in enumerate(slices)
        )
        return msgspec.structs.replace(sliced, slices=parts, slice_overhead=max(0.0, overhead))

    def _write(self, root: Path, variant: Variant, parts: Sequence[Part]) -> tuple[Slice, ...]:
        model = self._equalized() if variant.precision == "int8" else self._flow.model
        return write_slices(root, variant, parts, Canonical(flow=self._flow, model=model, frame=self._frames[0]))

    def _open(self, stack: ExitStack, root: Path, variant: Variant, part: Slice) -> Session:
        spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
        session = get_runtime(variant.runtime).open(root / part.entry, spec, self._options)
        stack.callback(session.close)
        return session

    def _run_chain(
        self, variant: Variant, slices: Sequence[Slice], sessions: Sequence[Session], frame: Image
    ) -> tuple[dict[str, Tensor], list[float]]:
        """All outputs of the slices for a frame by name, and the milliseconds that each slice takes."""
        values: dict[str, Tensor] = {variant.input.name: frame[None]}
        times = []
        for part, session in zip(slices, sessions, strict=True):
            begin = time.perf_counter_ns()
            values |= session.run({tensor.name: values[tensor.name] for tensor in part.inputs})
            times.append((time.perf_counter_ns() - begin) / 1e6)
        return values, times

    def _remove(self, variant: Variant, kept: Sequence[Slice]) -> None:
        """Remove the files of slices that are not kept."""
        names = {Path(part.entry).stem for part in kept}
        for path in (self._root / variant.id).glob("slice*"):
            if path.stem not in names:
                path.unlink()


def slicing_rank(variant: Variant, max_share: float) -> tuple[bool, float]:
    """Sorts ways to slice a variant, the best first: slices that fit into a deadline, then a small overhead.

    Args:
        variant: The sliced variant.
        max_share: Largest share of the whole graph's time for one slice.
    """
    times = [part.latency_ms for part in variant.slices]
    overhead = variant.slice_overhead or 0.0
    known = [ms for ms in times if ms is not None]
    share = max(known) / sum(known) * (1 + overhead) if known else 0.0
    return share > max_share, overhead
