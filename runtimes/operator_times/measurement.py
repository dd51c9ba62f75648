"""Time per operator of a graph, by the runtime's own profiler.

The profiler slows the graph down, and fused operators have the runtime's names: use the shares to see where the time
goes, not to see how long a frame takes.

LiteRT's Python package has no profiler (ai-edge-litert 2.3.0: neither ``Interpreter`` nor ``CompiledModel`` binds the
C++ one, and ``litert-benchmark`` times whole runs). Calling ``libLiteRt.so`` through ctypes was rejected: it has no
stable interface, and would time other code than runs here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_vseg.errors import BackendError, OptionError, SessionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.backends.onnx_runtime import OnnxRuntime
from edge_vseg.runtimes.backends.openvino_runtime import PERF_COUNT, OpenVinoRuntime
from edge_vseg.runtimes.operator_times.onnx_trace import read_onnx_trace
from edge_vseg.runtimes.operator_times.openvino_counters import mean_times
from edge_vseg.runtimes.operator_times.record import Measured
from edge_vseg.runtimes.port import GraphSpec, Session, SessionOptions
from edge_vseg.runtimes.timing import WARM_UPS
from edge_vseg.types import Tensor

ASYNCHRONOUS = ("cuda", "tensorrt")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """An operator's share of a graph's time.

    Attributes:
        name: The node's name in the runtime's graph, after fusion.
        kind: What it computes, such as ``Conv``, in the runtime's words.
        ms: Mean milliseconds per run.
        share: Share of the sum over all operators, 0 to 1.
        calls: Calls in the timed runs.
        kernel: ONNX Runtime's provider, or OpenVINO's primitive with its precision.
        median_ms: Median milliseconds per run, which a busy machine disturbs less; OpenVINO's counters give the mean.
    """

    name: str
    kind: str
    ms: float
    share: float
    calls: int
    kernel: str = ""
    median_ms: float = 0.0


def profile_operators(
    runtime: str,
    path: Path,
    spec: GraphSpec,
    options: SessionOptions,
    inputs: Mapping[str, Tensor],
    *,
    runs: int = 20,
) -> tuple[OperatorTime, ...]:
    """Open a graph with the runtime's profiler on, and time its operators.

    Args:
        runtime: The runtime's name.
        path: The graph.
        spec: Its inputs and outputs.
        options: How it is opened in use.
        inputs: As for :meth:`Session.run`; the same for every run.
        runs: Timed runs, after a few warm-ups.

    Returns:
        The operators, most expensive first. For operators with subgraphs (``If``, ``Loop``), ONNX Runtime counts the
        inner time twice.

    Raises:
        BackendError: If this runtime or provider has no operator profiler; and see :meth:`Runtime.open`.
        OptionError: If there is no such runtime, or ``runs`` is below 1.
        SessionError: If the inputs do not match the spec, or a run fails.
    """
    if runs < 1:
        raise OptionError(f"runs must be at least 1, got {runs}; 20 is enough for stable means")
    version = get_runtime(runtime).version()
    match runtime:
        case OnnxRuntime.name:
            measured = _onnx(path, spec, options, inputs, runs)
        case OpenVinoRuntime.name:
            measured = _openvino(path, spec, options, inputs, runs)
        case "tflite":
            raise BackendError(
                f"{version} has no operator profiler in its Python package; use LiteRT's own tool:"
                f" benchmark_model --graph={path.name} --enable_op_profiling=true"
            )
        case _:
            raise BackendError(
                f"edge_vseg cannot profile operators of runtime {runtime!r} ({version});"
                f" use {OnnxRuntime.name} or {OpenVinoRuntime.name}"
            )
    return _most_expensive_first(measured)


def _onnx(
    path: Path, spec: GraphSpec, options: SessionOptions, inputs: Mapping[str, Tensor], runs: int
) -> list[Measured]:
    if options.provider in ASYNCHRONOUS:
        raise BackendError(
            f"for provider {options.provider!r}, onnxruntime's profiler times the launch of an operator, not its"
            " computation; use NVIDIA's tool: nsys profile"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="edge-vseg-") as folder:
            session = OnnxRuntime().open(path, spec, options, profile_to=Path(folder) / "operators")
            try:
                _repeat(session, inputs, WARM_UPS + runs)
                # Node names may be any bytes; one that is not UTF-8 must not fail the whole profile.
                text = session.end_profiling().read_text(encoding="utf-8", errors="replace")
            finally:
                session.close()
    except OSError as exc:
        raise SessionError(
            f"onnxruntime's profile cannot be written: {exc}; set TMPDIR to a folder with free space"
        ) from exc
    return read_onnx_trace(text, WARM_UPS)


def _openvino(
    path: Path, spec: GraphSpec, options: SessionOptions, inputs: Mapping[str, Tensor], runs: int
) -> list[Measured]:
    counting = replace(options, provider_options={**options.provider_options, PERF_COUNT: "YES"})
    session = OpenVinoRuntime().open(path, spec, counting)
    try:
        _repeat(session, inputs, WARM_UPS)
        before = session.profiling_info()
        _repeat(session, inputs, runs)
        return mean_times(before, session.profiling_info(), warm_ups=WARM_UPS, runs=runs)
    finally:
        session.close()


def _repeat(session: Session, inputs: Mapping[str, Tensor], times: int) -> None:
    for _ in range(times):
        session.run(inputs)


def _most_expensive_first(measured: list[Measured]) -> tuple[OperatorTime, ...]:
    total = sum(each.ms for each in measured)
    if total <= 0:
        raise SessionError("the profiler measured no time in any operator; give more runs")
    times = [
        OperatorTime(
            name=each.name,
            kind=each.kind,
            ms=each.ms,
            share=each.ms / total,
            calls=each.calls,
            kernel=each.kernel,
            median_ms=each.median_ms,
        )
        for each in measured
    ]
    return tuple(sorted(times, key=lambda each: -each.ms))
