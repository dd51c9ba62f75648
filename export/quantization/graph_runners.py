"""How int8 graphs of each runtime are run, timed and profiled while the nodes that stay in float are looked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.errors import EdgeVsegError
from edge_vseg.export.export_options import native_targets
from edge_vseg.export.graph.fast_prelu import with_fast_prelu
from edge_vseg.export.quantization.activations import Infer, start_onnx
from edge_vseg.export.quantization.graph_runs import run_graph, time_in_turns
from edge_vseg.export.quantization.node_times import graph_tensors, lost_by_node, profile_file, profile_onnx
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import Int8Preparation
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.types import Image

log = logging.getLogger(__name__)
Graph = TypeVar("Graph")


class Caller(Protocol):
    """Runs a function, perhaps in another process."""

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Give what ``function(*args)`` gives."""
        ...


class OnnxRunner:
    """Runs graphs of ONNX Runtime here.

    Args:
        prepared: The network.
        threads: How many a timed graph gets.
        native: Whether the graphs are made for such a machine as this one, so that times mean something.
        in_float: Whether classes come from float between roundings, for this CPU's integer kernels would saturate.
    """

    def __init__(self, prepared: Int8Preparation, threads: int, *, native: bool, in_float: bool = False) -> None:
        self._prepared = prepared
        self._in_float = in_float
        self._threads = threads
        self._native = native
        self.rounds_scores = True

    def classes(self, graph: onnx.ModelProto, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        return run_graph(lambda model: start_onnx(model, in_float=self._in_float), graph, frames)

    def times(self, graphs: Sequence[onnx.ModelProto], frame: Image, turns: int) -> NDArray[np.float64]:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        if not self._native:
            return np.empty((len(graphs), 0))
        return time_in_turns(lambda graph: start_onnx(graph, self._threads), graphs, frame, turns)

    def lost_ms(self, int8: onnx.ModelProto) -> Mapping[str, float] | None:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        return onnx_lost_ms(self._prepared, int8, self._threads) if self._native else None


class ChildRunner(Generic[Graph]):
    """Runs graphs in another process, where they may crash: later they are run here.

    Args:
        call: Runs a function there.
        start: Opens a graph.
        lost_ms: See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`.
        rounds_scores: Likewise.
    """

    def __init__(
        self,
        call: Caller,
        start: Callable[[Graph], Infer],
        lost_ms: Callable[[Graph], Mapping[str, float] | None] = lambda graph: None,
        *,
        rounds_scores: bool = True,
    ) -> None:
        self._call = call
        self._start = start
        self._lost_ms = lost_ms
        self.rounds_scores = rounds_scores

    def classes(self, graph: Graph, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        found: list[NDArray[np.generic]] = self._call(run_graph, self._start, graph, frames)
        return found

    def times(self, graphs: Sequence[Graph], frame: Image, turns: int) -> NDArray[np.float64]:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        found: NDArray[np.float64] = self._call(time_in_turns, self._start, graphs, frame, turns)
        return found

    def lost_ms(self, int8: Graph) -> Mapping[str, float] | None:
        """See :class:`~edge_vseg.export.quantization.mixed_precision.GraphRunner`."""
        return self._lost_ms(int8)


def onnx_lost_ms(prepared: Int8Preparation, int8: onnx.ModelProto | None, threads: int) -> Mapping[str, float] | None:
    """What each node loses in float in ONNX Runtime on this machine.

    Args:
        prepared: The network.
        int8: Its int8 graph; ``None`` to make one, where another runtime has no profiler.
        threads: How many a graph gets.
    """
    if int8 is None:
        recipe = recipe_for(native_targets(cpu_features().has_vnni)[0])
        int8 = quantize_onnxruntime(prepared.weights((), levels=recipe.levels), prepared.ranges, recipe)
    graph, frame = int8, prepared.check_frames[0]
    return _lost_ms(
        prepared,
        lambda: (profile_onnx(with_fast_prelu(prepared.model), frame, threads), profile_onnx(graph, frame, threads)),
    )


def openvino_lost_ms(
    prepared: Int8Preparation, call: Caller, float_graph: Path, int8: Path, threads: int
) -> Mapping[str, float] | None:
    """What each node loses in float in OpenVINO on this machine."""
    tensors, frame = graph_tensors(prepared.model), prepared.check_frames[0]

    def profile(path: Path) -> Any:
        return call(profile_file, "openvino", path, *tensors, frame, threads)

    return _lost_ms(prepared, lambda: (profile(float_graph), profile(int8)))


def _lost_ms(prepared: Int8Preparation, profile: Callable[[], tuple[Any, Any]]) -> Mapping[str, float] | None:
    """From profiles in float and in int8; a profiler that fails is no reason to have no variant."""
    try:
        in_float, in_int8 = profile()
    except EdgeVsegError as exc:
        log.info("no times of nodes, products stand in for them: %s", exc)
        return None
    return lost_by_node(in_float, in_int8, prepared.model.graph.node)
