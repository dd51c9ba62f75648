"""Cut variants into slices, and compare them with the whole graph in outputs and time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import onnx

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.child_process import ChildProcess
from edge_vseg.errors import EdgeVsegError, ExportError, QuantizationError
from edge_vseg.export.error_text import failure_reason
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.partition.chain import ANYWHERE, Chain, CutRules, Part, plan_chain
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.feature_reuse import Stages, cut_at, find_reuse_cut
from edge_vseg.export.partition.slice_files import Canonical
from edge_vseg.export.partition.slice_runs import WholeVariant, time_parts, write_and_compare, write_parts
from edge_vseg.types import Image

log = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
_OURS = "onnxruntime"
"""The runtime whose graphs are cut here: the export has run them in its own process all along."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceSpec:
    """How variants are cut, and compared with their whole graphs.

    Attributes:
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size.
        carried: Tensors of the float graph that may be carried over; empty to find one.
        thresholds: What is accepted.
        child: Where the graphs of the other runtimes are cut and run.
    """

    frames: Sequence[Image]
    carried: Sequence[str]
    thresholds: ExportThresholds
    child: ChildProcess


class _DeathError(ExportError):
    """The process in which a graph was cut died, or was stopped at a limit."""


class Slicer:
    """Slices variants of one network.

    Args:
        model: The float graph.
        root: The folder that holds the variants' folders.
        spec: How.
        equalized: Gives the equalized graph that the int8 variants were made from.

    Attributes:
        stopped: Ids of the variants that have no slices because a process died; another time they may.

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
        self._child = spec.child
        self._equalized = equalized
        self._root = root
        self.stopped: set[str] = set()
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
            if isinstance(exc, _DeathError):
                self.stopped.add(variant.id)
                log.warning("%s has no slices: %s", variant.id, reason)
            else:
                log.info("%s has no slices: %s", variant.id, reason, exc_info=not isinstance(exc, EdgeVsegError))
            self._remove(variant, ())
            return msgspec.structs.replace(variant, unsliced=reason)

    def _slice(self, variant: Variant, timed: Variant | None) -> Variant:
        measure, rules = self._stopwatch(timed), self._rules(variant)
        whole = self._whole(variant)
        tried: list[tuple[Chain, Variant]] = []
        chains: list[Chain] = []
        refused = "no place to cut: everywhere too many or too large tensors cross"
        fits = False
        for count in self._limits.slice_counts:
            if fits and count * self._limits.slice_share < 1:
                break  # one of so few takes a larger share
            chain = plan_chain(self._flow, self._stages, count, measure, rules)
            if chain is None or chain in chains:
                continue
            chains.append(chain)
            own_times = timed is not None and timed.id == variant.id
            try:
                made = self._run(variant, "compared", write_and_compare, whole, chain.parts, own_times)
            except _DeathError:
                raise
            except ExportError as exc:  # fewer cuts may agree
                refused = str(exc)
                continue
            tried.append((chain, made))
            too_long, _ = slicing_rank(made, self._limits.slice_share)
            if fits and too_long:
                break  # and those of fewer are longer
            fits |= not too_long
            if (made.slice_overhead or 0.0) <= self._limits.slice_overhead:
                break
        if not tried:
            raise ExportError(refused)
        chain, best = min(tried, key=lambda each: slicing_rank(each[1], self._limits.slice_share))
        if chain is not chains[-1]:
            self._run(variant, "written", write_parts, whole, chain.parts)
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
        from edge_vseg.export.partition.openvino_fusion import fused_file, openvino_rules

        return openvino_rules(self._flow, self._run(variant, "planned", fused_file, self._root / variant.entry))

    def _stopwatch(self, timed: Variant | None) -> Callable[[Sequence[Part]], Sequence[float]]:
        """Times parts, once: they are the same for every number of slices."""
        times: list[float] = []

        def measure(parts: Sequence[Part]) -> Sequence[float]:
            if not times and timed is not None:
                times.extend(self._run(timed, "timed", time_parts, self._whole(timed), parts))
            elif not times:
                times.extend(1 + self._flow.cost(self._flow.ancestors(part.outputs, part.inputs)) for part in parts)
            return times

        return measure

    def _whole(self, variant: Variant) -> WholeVariant:
        """The variant with what its runtime is cut by: the rest would only be sent to the child."""
        model = None
        if variant.runtime == "tflite":
            model = self._equalized() if variant.precision == "int8" else self._flow.model
        flow = self._flow if variant.runtime == _OURS else None
        canonical = Canonical(flow=flow, model=model, frame=self._frames[0])
        return WholeVariant(
            root=self._root, variant=variant, canonical=canonical, frames=self._frames, thresholds=self._limits
        )

    def _run(self, variant: Variant, done: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function on a variant's graph, where other people's native code cannot take the export along.

        Args:
            variant: The variant.
            done: What is done to its slices, for the message.
            function: The function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            _DeathError: If the process dies, or is stopped at a limit.
        """
        if variant.runtime == _OURS:
            return function(*args, **kwargs)
        try:
            return self._child.call(function, *args, **kwargs)
        except QuantizationError as exc:
            raise _DeathError(f"while its slices were {done}, {exc}") from exc

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
