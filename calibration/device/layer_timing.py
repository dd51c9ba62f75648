"""Time the layers of a network on the machine that it shall run on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_vseg.bundle.layer_times import SCHEMA, LayerTime, LayerTimes, TimedGraph, read_layer_folder
from edge_vseg.errors import CalibrationError
from edge_vseg.runtimes import GraphSpec, SessionOptions, get_runtime
from edge_vseg.runtimes.timing import Runner, noise, race
from edge_vseg.scheduling.device_profile import machine_key

RUNTIME = "onnxruntime"
LAYER_ROUNDS = 7
NETWORK_ROUNDS = 15
QUANTILE = 0.25
"""Of the runs of a layer: other processes only ever make it slower."""


def time_layers(
    folder: Path, *, threads: int = 0, progress: Callable[[int, int], None] = lambda done, total: None
) -> LayerTimes:
    """Time every layer in a folder that ``edge-vseg shrink --write-layers`` wrote; nothing else should run.

    Args:
        folder: The folder.
        threads: Worker threads, as the network will run with; 0 for the runtime's choice.
        progress: Called with (done, total).

    Raises:
        CalibrationError: If it is no such folder, or a graph in it fails.
        BackendError: If ONNX Runtime is not installed, or cannot open a graph.
    """
    index = read_layer_folder(folder)
    network_ms = _graph_ms(folder, index.network, threads, NETWORK_ROUNDS)
    times = []
    for number, layer in enumerate(index.layers):
        ms = _graph_ms(folder, layer.graph, threads, LAYER_ROUNDS)
        times.append(LayerTime(kind=layer.kind, reads=layer.reads, makes=layer.makes, ms=ms))
        progress(number + 1, len(index.layers))
    return LayerTimes(
        schema=SCHEMA,
        name=index.name,
        machine=machine_key(),
        runtime=get_runtime(RUNTIME).version(),
        threads=threads,
        network_ms=network_ms,
        layers=tuple(times),
    )


def _graph_ms(folder: Path, graph: TimedGraph, threads: int, rounds: int) -> float:
    spec = GraphSpec.of(input=graph.input, output=graph.output)
    session = get_runtime(RUNTIME).open(folder / graph.file, spec, SessionOptions(threads=threads))
    try:
        feed = {graph.input.name: noise(graph.input, np.random.default_rng(0))}
        runner = Runner(key=graph.file, session=session, feed=feed)
        race([runner], rounds=rounds, clock=time.perf_counter_ns)
    finally:
        session.close()
    if runner.failure:
        raise CalibrationError(f"{folder / graph.file} fails here: {runner.failure}; write the folder anew")
    return float(np.quantile(runner.samples_ns, QUANTILE)) / 1e6
