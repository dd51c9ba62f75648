"""Give every variant of a bundle its slices, held to the whole graph in what they give and how long they take."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import onnx

from edge_vseg.bundle.manifest import Slice, Variant
from edge_vseg.errors import BackendError, ExportError
from edge_vseg.export.partition.chain import Chain, Part, plan_chain
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.feature_reuse import Stages, cut_at, find_reuse_cut
from edge_vseg.export.partition.slice_files import write_slices
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.types import Image, Tensor

log = logging.getLogger(__name__)

COUNTS = (12, 10, 8, 6, 4, 3, 2)
"""How many slices are tried, until the overhead is small enough."""
MAX_OVERHEAD_SHARE = 0.10
MAX_SLICE_SHARE = 0.4
"""Of what the whole graph takes: longer ones fit into hardly any deadline, and a larger overhead is the lesser evil."""
ROUNDS = 15
MIN_AGREEMENT = 0.995
"""With the whole graph; OpenVINO fuses a slice in other ways than the whole, and so rounds in other places."""
MAX_THREADS = 4


class Slicer:
    """Slices variants of one network.

    Args:
        model: The canonical graph.
        frames: ``(H, W, 3)`` uint8 at the input size, to hold slices against the whole.
        root: The folder of the bundle being staged.
        carried: Tensors of the canonical graph to cut at for reuse; empty to find them.
        even: Gives the equalized graph that the int8 variants were made from.

    Raises:
        ExportError: If ``carried`` leaves a stage empty.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        frames: Sequence[Image],
        root: Path,
        *,
        carried: Sequence[str],
        even: Callable[[], onnx.ModelProto],
    ) -> None:
        self._flow = DataFlow(model)
        self._frames = frames
        self._even = even
        self._root = root
        self._options = SessionOptions(threads=min(MAX_THREADS, usable_cores()))
        self._times: list[float] | None = None
        self.stages: Stages | None = cut_at(self._flow, carried) if carried else find_reuse_cut(self._flow)
        if carried and self.stages is None:
            raise ExportError(f"carrying {', '.join(carried)} leaves nothing before, after, or to be carried")

    def slice(self, variant: Variant, *, timed: bool) -> Variant:
        """The variant with its slices written, or with the reason why it has none.

        Args:
            variant: A usable variant.
            timed: Whether its speed on this machine means anything.
        """
        try:
            return self._slice(variant, timed=timed)
        except (ExportError, BackendError) as exc:
            log.info("%s has no slices: %s", variant.id, exc)
            self._remove(variant, ())
            return msgspec.structs.replace(variant, unsliced=str(exc))

    def _slice(self, variant: Variant, *, timed: bool) -> Variant:
        tried: list[tuple[Chain, Variant]] = []
        for count in COUNTS:
            chain = self._plan(variant, count, timed=timed)
            if chain is None or any(chain.parts == other.parts for other, _ in tried):
                continue
            slices = self._write(self._root, variant, chain.parts)
            tried.append((chain, self._hold_against_whole(variant, slices, timed=timed)))
            if (tried[-1][1].slice_overhead or 0.0) <= MAX_OVERHEAD_SHARE:
                break
        if not tried:
            raise ExportError("no place to cut: everywhere too many or too large tensors cross")
        chain, best = min(tried, key=lambda each: _worth(each[1]))
        if chain is not tried[-1][0]:
            self._write(self._root, variant, chain.parts)
        if (best.slice_overhead or 0.0) > MAX_OVERHEAD_SHARE:
            log.warning(
                "%s: its slices take %.0f %% longer than the whole", variant.id, 100 * (best.slice_overhead or 0)
            )
        best = msgspec.structs.replace(best, context=chain.context)
        self._remove(variant, best.slices)
        folder = self._root / variant.id
        files = tuple(sorted(f"{variant.id}/{path.name}" for path in folder.iterdir()))
        return msgspec.structs.replace(best, files=files)

    def _plan(self, variant: Variant, count: int, *, timed: bool) -> Chain | None:
        def measure(parts: Sequence[Part]) -> list[float]:
            if self._times is None and timed:
                self._times = self._time_parts(variant, parts)
            if self._times is not None:
                return self._times
            return [float(1 + self._flow.cost(self._flow.ancestors(part.outputs, part.inputs))) for part in parts]

        return plan_chain(self._flow, self.stages, count, measure)

    def _time_parts(self, variant: Variant, parts: Sequence[Part]) -> list[float]:
        """Shortest time of each part; the first variant that can be timed speaks for all."""
        with TemporaryDirectory() as scratch, ExitStack() as stack:
            root = Path(scratch)
            (root / variant.id).mkdir(parents=True)
            for name in variant.files:
                (root / name).write_bytes((self._root / name).read_bytes())
            slices = self._write(root, variant, parts)
            sessions = [self._open(stack, root, variant, part) for part in slices]
            runs = [self._run_chain(variant, slices, sessions, self._frames[0])[1] for _ in range(ROUNDS)]
        return [float(t) for t in np.min(runs, axis=0)]

    def _hold_against_whole(self, variant: Variant, slices: tuple[Slice, ...], *, timed: bool) -> Variant:
        assert variant.input is not None
        assert variant.output is not None
        with ExitStack() as stack:
            whole = Slice(entry=variant.entry, inputs=(variant.input,), outputs=(variant.output,))
            session = self._open(stack, self._root, variant, whole)
            sessions = [self._open(stack, self._root, variant, part) for part in slices]
            same = []
            for frame in self._frames:
                expected, _ = self._run_chain(variant, (whole,), [session], frame)
                given, _ = self._run_chain(variant, slices, sessions, frame)
                same.append(np.mean(_classes(expected[variant.output.name]) == _classes(given[variant.output.name])))
            if np.mean(same) < MIN_AGREEMENT:
                raise ExportError(f"the slices agree with the whole graph in only {np.mean(same):.2%} of the pixels")
            made = msgspec.structs.replace(variant, slices=slices)
            if not timed:
                return made
            frame = self._frames[0]
            alone, chained = [], []
            for _ in range(ROUNDS):
                alone.append(self._run_chain(variant, (whole,), [session], frame)[1][0])
                chained.append(self._run_chain(variant, slices, sessions, frame)[1])
        # The shortest of many runs: what else the machine does only ever adds.
        overhead = min(map(sum, chained)) / min(alone) - 1
        parts = tuple(
            msgspec.structs.replace(part, latency_ms=statistics.median(run[at] for run in chained))
            for at, part in enumerate(slices)
        )
        return msgspec.structs.replace(made, slices=parts, slice_overhead=max(0.0, overhead))

    def _write(self, root: Path, variant: Variant, parts: Sequence[Part]) -> tuple[Slice, ...]:
        model = self._even() if variant.precision == "int8" else self._flow.model
        return write_slices(root, variant, self._flow, parts, model, self._frames[0])

    def _open(self, stack: ExitStack, root: Path, variant: Variant, part: Slice) -> Session:
        spec = GraphSpec(inputs=part.inputs, outputs=part.outputs)
        session = get_runtime(variant.runtime).open(root / part.entry, spec, self._options)
        stack.callback(session.close)
        return session

    def _run_chain(
        self, variant: Variant, slices: Sequence[Slice], sessions: Sequence[Session], frame: Image
    ) -> tuple[dict[str, Tensor], list[float]]:
        """Everything that the slices give for a frame, and the milliseconds that each takes."""
        assert variant.input is not None
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


def _worth(variant: Variant) -> tuple[bool, float]:
    """Smaller is better: first slices that fit into a deadline, then a small overhead."""
    times = [part.latency_ms for part in variant.slices]
    overhead = variant.slice_overhead or 0.0
    known = [ms for ms in times if ms is not None]
    share = max(known) / sum(known) * (1 + overhead) if known else 0.0
    return share > MAX_SLICE_SHARE, overhead


def _classes(output: Tensor) -> Tensor:
    channel_axis = 1
    classes: Tensor = output.argmax(channel_axis) if output.ndim == 4 else output
    return classes
