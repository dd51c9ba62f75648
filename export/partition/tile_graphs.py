"""Give variants a tile graph: the same network with a smaller input, for the parts of a frame that changed.

All tiles have one size, so that every runtime keeps its static shapes. What a tile lacks is what surrounds it:
the scores near its sides, the halo, are thrown away, but for sides that are the frame's own.

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
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_vseg.bundle.manifest import TensorSpec, TileGraph, Variant
from edge_vseg.errors import EdgeVsegError, ExportError
from edge_vseg.export.export_options import TILE_HALO_PX
from edge_vseg.export.float_graph import FloatGraph
from edge_vseg.export.partition.tile_agreement import calibration_crops, crop, tile_agreement
from edge_vseg.export.quantization.preparation import Int8Preparation, Progress
from edge_vseg.export.variants import Builder, Plan
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.cpu import usable_cores
from edge_vseg.runtimes.timing import Runner, race
from edge_vseg.types import Image, Size

log = logging.getLogger(__name__)

MIN_AGREEMENT = 0.9
ROUNDS = 15
MAX_THREADS = 4


class TileGraphBuilder:
    """Makes the tile graphs of the variants of one network.

    Args:
        remake: Makes the network's canonical graph at the size of a tile, or says why not.
        prepared: What the int8 variants share.
        frames: Validation frames ``(H, W, 3)`` uint8 at the input size, to hold tiles against the whole.
        root: The folder of the bundle being staged.
        size_hw: Size of a tile.
        seed: For the choice of what they are calibrated on.
        progress: Called with a line on each step.
    """

    def __init__(
        self,
        remake: Callable[[], FloatGraph],
        prepared: Int8Preparation,
        frames: Sequence[Image],
        root: Path,
        size_hw: Size,
        seed: int,
        progress: Progress = lambda step: None,
    ) -> None:
        self._remake = remake
        self._prepared = prepared
        self._frames = frames
        self._root = root
        self._size = size_hw
        self._seed = seed
        self._progress = progress
        self._options = SessionOptions(threads=min(MAX_THREADS, usable_cores()))

    def add(self, variant: Variant, *, timed: bool) -> Variant:
        """The variant with its tile graph written, or with the reason why it has none.

        Args:
            variant: A usable variant.
            timed: Whether its speed on this machine means anything.
        """
        folder = self._root / variant.id
        try:
            tile = self._hold_against_whole(variant, self._build(variant), timed=timed)
        except EdgeVsegError as exc:
            log.info("%s has no tile graph: %s", variant.id, exc)
            for path in folder.glob("tile.*"):
                path.unlink()
            return msgspec.structs.replace(variant, untiled=str(exc))
        files = tuple(sorted(f"{variant.id}/{path.name}" for path in folder.iterdir()))
        return msgspec.structs.replace(variant, tile=tile, files=files)

    @cached_property
    def _graph(self) -> FloatGraph | EdgeVsegError:
        """The canonical graph of a tile, or why there is none: found once for all variants."""
        try:
            return self._remake()
        except EdgeVsegError as exc:
            return exc

    @cached_property
    def _tile_prepared(self) -> Int8Preparation:
        assert isinstance(self._graph, FloatGraph)
        crops = calibration_crops(self._prepared.frames, self._size, np.random.default_rng(self._seed))
        return Int8Preparation(self._graph.model, crops, self._seed, self._progress, like=self._prepared)

    def _build(self, variant: Variant) -> TileGraph:
        """Write the tile graph into the variant's folder; how good it is, is not yet known."""
        graph = self._graph
        if isinstance(graph, EdgeVsegError):
            raise graph
        plan = Plan(runtime=variant.runtime, precision=variant.precision, target=variant.target)
        with TemporaryDirectory() as scratch:
            made = Builder(graph.model, graph.head, graph.labels, self._tile_prepared, Path(scratch)).build(plan)
            if made.input is None or made.output is None:
                raise ExportError(made.reason)
            for name in made.files:
                file = Path(scratch) / name
                (self._root / variant.id / f"tile{file.suffix}").write_bytes(file.read_bytes())
        entry = f"{variant.id}/tile{Path(made.entry).suffix}"
        return TileGraph(entry=entry, input=made.input, output=made.output, halo=TILE_HALO_PX, agreement=0.0)

    def _hold_against_whole(self, variant: Variant, tile: TileGraph, *, timed: bool) -> TileGraph:
        assert variant.input is not None
        assert variant.output is not None
        stride = variant.input.hwc[0] // variant.output.hwc[0], variant.input.hwc[1] // variant.output.hwc[1]
        frame = self._frames[0]
        shortest = median = None
        with ExitStack() as stack:
            whole = self._open(stack, variant.runtime, variant.entry, variant.input, variant.output)
            part = self._open(stack, variant.runtime, tile.entry, tile.input, tile.output)
            pair = _classifier(whole, variant.input, variant.output), _classifier(part, tile.input, tile.output)
            agreement = tile_agreement(*pair, self._frames, self._size, stride, tile.halo)
            if timed:
                feeds = {variant.input.name: frame[None]}, {tile.input.name: crop(frame, (0, 0), self._size)[None]}
                whole_ms, part_ms = _race((whole, part), feeds)
                # The shortest of many runs decides: what else the machine does only ever adds.
                shortest, median = (min(whole_ms), min(part_ms)), statistics.median(part_ms)
        if reason := why_useless(agreement, shortest):
            raise ExportError(f"a graph for tiles of {self._size[0]}x{self._size[1]} {reason}")
        return msgspec.structs.replace(tile, agreement=agreement, latency_ms=median)

    def _open(self, stack: ExitStack, runtime: str, entry: str, source: TensorSpec, output: TensorSpec) -> Session:
        session = get_runtime(runtime).open(
            self._root / entry, GraphSpec.of(input=source, output=output), self._options
        )
        stack.callback(session.close)
        return session


def why_useless(agreement: float, times_ms: tuple[float, float] | None) -> str:
    """Why a tile graph is not worth having, as the end of a sentence; empty if it is.

    Args:
        agreement: Share of trusted cells that agree with the whole graph's.
        times_ms: What the whole graph and the tile graph take at the least; ``None`` where they were not timed.
    """
    if agreement < MIN_AGREEMENT:
        return f"agrees with the whole graph in {agreement:.1%} of the cells; at least {MIN_AGREEMENT:.0%} must"
    if times_ms is not None and times_ms[1] >= times_ms[0]:
        return f"takes {times_ms[1]:.2f} ms, the whole graph {times_ms[0]:.2f} ms"
    return ""


def _classifier(session: Session, source: TensorSpec, output: TensorSpec) -> Callable[[Image], NDArray[np.intp]]:
    def classify(image: Image) -> NDArray[np.intp]:
        winners: NDArray[np.intp] = session.run({source.name: image[None]})[output.name][0].argmax(0)
        return winners

    return classify


def _race(sessions: tuple[Session, Session], feeds: tuple[dict[str, Image], dict[str, Image]]) -> list[list[float]]:
    """Milliseconds of both, timed in turns."""
    runners = [Runner(key="", session=session, feed=feed) for session, feed in zip(sessions, feeds, strict=True)]
    race(runners, rounds=ROUNDS, clock=time.perf_counter_ns, max_slowdown=math.inf)
    if any(runner.median_ms is None for runner in runners):
        raise ExportError("could not be timed: " + " ".join(runner.failure for runner in runners))
    return [[sample / 1e6 for sample in runner.samples_ns] for runner in runners]
