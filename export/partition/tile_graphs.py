"""Give variants a tile graph: the same network with a smaller input, for the parts of a frame that changed.

All tiles have one size, so that every runtime keeps its static shapes. The logits near the sides of a tile, its halo,
lack what surrounds them and are dropped, except at the frame's own border.

Reference: Xu et al., Dynamic Video Segmentation Network, CVPR 2018, divide a frame into overlapping tiles and segment
only some of them anew. There a tile is a quarter of the frame; here it has any size.
"""

from __future__ import annotations

import logging
import math
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
from numpy.typing import NDArray

from edge_vseg.analysis.part_agreement import cut_out, tile_agreement
from edge_vseg.bundle.manifest import FailedVariant, TensorSpec, TileGraph, Variant
from edge_vseg.child_process import ChildProcess
from edge_vseg.errors import EdgeVsegError, ExportError
from edge_vseg.export.error_text import failure_reason
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.partition.calibration_crops import calibration_crops
from edge_vseg.export.quantization.preparation import Int8Preparation, Progress
from edge_vseg.export.variant_builder import VariantBuilder
from edge_vseg.export.variant_plan import VariantPlan
from edge_vseg.imaging.tiles import Tile, divide
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.runtimes.timing import Runner, race
from edge_vseg.types import Image, Size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileSpec:
    """What tile graphs are made for, and compared on.

    Attributes:
        size_hw: Size of a tile.
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size.
        seed: For the choice of the tiles that they are calibrated on.
        thresholds: What is accepted.
        child: Where converters run.
        progress: Called with a line on each step.
    """

    size_hw: Size
    frames: Sequence[Image]
    seed: int
    thresholds: ExportThresholds
    child: ChildProcess
    progress: Progress = lambda step: None


class TileGraphBuilder:
    """Makes the tile graphs of the variants of one network.

    Args:
        make_graph: Makes the float graph at the size of a tile, or raises why not.
        whole: The float graph at the input size.
        prepared: What the int8 variants share.
        root: The folder that holds the variants' folders.
        spec: What for.
    """

    def __init__(
        self,
        make_graph: Callable[[], FloatGraph],
        whole: FloatGraph,
        prepared: Int8Preparation,
        root: Path,
        spec: TileSpec,
    ) -> None:
        self._make_graph = make_graph
        self._whole = whole
        self._prepared = prepared
        self._root = root
        self._spec = spec
        self.unbuilt: set[str] = set()
        """Ids of the variants whose tile graph could not be built; another time it may be."""
        self._options = SessionOptions(threads=min(spec.thresholds.max_timing_threads, usable_cores()))

    def add(self, variant: Variant, *, timed: bool) -> Variant:
        """The variant with its tile graph written, or with the reason why it has none.

        Args:
            variant: A variant whose whole graph is written.
            timed: Whether its speed on this machine means anything.
        """
        try:
            tile = self._compare_with_whole(variant, self._build(variant), timed=timed)
        except Exception as exc:  # converters raise kinds of their own; the whole graph is worth a bundle without tiles
            reason = failure_reason(exc)
            log.info("%s has no tile graph: %s", variant.id, reason, exc_info=not isinstance(exc, EdgeVsegError))
            for path in (self._root / variant.id).glob("tile.*"):
                path.unlink()
            return msgspec.structs.replace(variant, tile=None, untiled=reason)
        return msgspec.structs.replace(variant, tile=tile, untiled="")

    @cached_property
    def _graph(self) -> FloatGraph | Exception:
        """The float graph of a tile, or why there is none: found once for all variants."""
        try:
            return self._make_graph()
        except Exception as exc:  # torch raises kinds of its own when it traces the network once more
            return exc

    @cached_property
    def _tiles(self) -> tuple[Tile, ...]:
        halo = self._spec.thresholds.tile_halo_px
        return divide(self._whole.size_hw, self._spec.size_hw, self._whole.head.size_hw, halo)

    @cached_property
    def _tile_prepared(self) -> Int8Preparation:
        assert isinstance(self._graph, FloatGraph)
        spec = self._spec
        crops = calibration_crops(self._prepared.frames, self._tiles, np.random.default_rng(spec.seed))
        return Int8Preparation(
            self._graph.model,
            crops,
            spec.seed,
            thresholds=spec.thresholds,
            progress=spec.progress,
            like=self._prepared,
        )

    def _build(self, variant: Variant) -> TileGraph:
        """Write the tile graph into the variant's folder; how good it is, is not yet known."""
        graph = self._graph
        if isinstance(graph, Exception):
            raise graph
        plan = VariantPlan(runtime=variant.runtime, precision=variant.precision, target=variant.target)
        prepared = self._tile_prepared
        with TemporaryDirectory() as scratch:
            builder = VariantBuilder(graph, prepared, Path(scratch), self._spec.child)
            built = builder.build(plan, variant.float_nodes if prepared.shares_weights else None)
            if isinstance(built, FailedVariant):
                self.unbuilt.add(variant.id)
                raise ExportError(built.reason)
            for file in (Path(scratch) / built.id).iterdir():
                (self._root / variant.id / f"tile{file.suffix}").write_bytes(file.read_bytes())
        entry = f"{variant.id}/tile{Path(built.entry).suffix}"
        halo = self._spec.thresholds.tile_halo_px
        return TileGraph(entry=entry, input=built.input, output=built.output, halo=halo, agreement=0.0)

    def _compare_with_whole(self, variant: Variant, tile: TileGraph, *, timed: bool) -> TileGraph:
        spec = self._spec
        shortest = median = None
        with ExitStack() as stack:
            whole = self._open(stack, variant.runtime, variant.entry, variant.input, variant.output)
            part = self._open(stack, variant.runtime, tile.entry, tile.input, tile.output)
            pair = _classifier(whole, variant.input, variant.output), _classifier(part, tile.input, tile.output)
            agreement = tile_agreement(*pair, spec.frames, self._tiles)
            if timed:
                frame = spec.frames[0]
                feeds = {variant.input.name: frame[None]}, {tile.input.name: cut_out(frame, self._tiles[0])[None]}
                whole_ms, part_ms = _race((whole, part), feeds, spec.thresholds.timing_rounds)
                # The shortest of many runs decides: what else the machine does only ever adds.
                shortest, median = (min(whole_ms), min(part_ms)), statistics.median(part_ms)
        if reason := why_useless(agreement, shortest, spec.thresholds.tile_agreement):
            raise ExportError(f"a graph for tiles of {spec.size_hw[0]}x{spec.size_hw[1]} {reason}")
        return msgspec.structs.replace(tile, agreement=agreement, latency_ms=median)

    def _open(self, stack: ExitStack, runtime: str, entry: str, source: TensorSpec, output: TensorSpec) -> Session:
        session = get_runtime(runtime).open(
            self._root / entry, GraphSpec.of(input=source, output=output), self._options
        )
        stack.callback(session.close)
        return session


def why_useless(agreement: float, times_ms: tuple[float, float] | None, min_agreement: float) -> str:
    """Why a tile graph is left out, as the end of a sentence; empty if it is kept.

    Args:
        agreement: Share of the cells that agree with the whole graph's.
        times_ms: Shortest times of the whole graph and of the tile graph; ``None`` where they were not timed.
        min_agreement: Least share of cells that must agree.
    """
    if agreement < min_agreement:
        return f"agrees with the whole graph in {agreement:.1%} of the cells; at least {min_agreement:.0%} must"
    if times_ms is not None and times_ms[1] >= times_ms[0]:
        return f"takes {times_ms[1]:.2f} ms, the whole graph {times_ms[0]:.2f} ms"
    return ""


def _classifier(session: Session, source: TensorSpec, output: TensorSpec) -> Callable[[Image], NDArray[np.intp]]:
    def classify(image: Image) -> NDArray[np.intp]:
        winners: NDArray[np.intp] = session.run({source.name: image[None]})[output.name][0].argmax(0)
        return winners

    return classify


def _race(
    sessions: tuple[Session, Session], feeds: tuple[dict[str, Image], dict[str, Image]], rounds: int
) -> list[list[float]]:
    """Milliseconds of both, timed in turns."""
    runners = [Runner(key="", session=session, feed=feed) for session, feed in zip(sessions, feeds, strict=True)]
    race(runners, rounds=rounds, clock=time.perf_counter_ns, max_slowdown=math.inf)
    if any(runner.median_ms is None for runner in runners):
        raise ExportError("could not be timed: " + " ".join(runner.failure for runner in runners))
    return [[sample / 1e6 for sample in runner.samples_ns] for runner in runners]
