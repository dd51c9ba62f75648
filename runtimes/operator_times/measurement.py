"""What each operator of a graph takes, by the runtime's own profiler.

A profiler slows a graph down, and a fused operator goes by the name that the runtime gave it: the shares
say where the time goes, not how long a frame takes.

LiteRT has a profiler in C++ and none in its Python package (ai-edge-litert 2.3.0: neither ``Interpreter``
nor ``CompiledModel`` binds one, and its ``litert-benchmark`` times whole runs). What was rejected: calling
``libLiteRt.so``, which has one for compiled models, through ctypes, for it has no stable interface and
would time other code than what runs here.
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
    """An operator's part in a graph's time.

    Attributes:
        name: The node's name in the graph that the runtime made of the file, after fusing.
        kind: What it computes, such as ``Conv``, in the runtime's words.
        ms: Mean milliseconds per run.
        share: Its part of the sum over all operators, 0 to 1.
        calls: How often it ran in the timed runs.
        kernel: What computes it: ONNX Runtime's provider, OpenVINO's primitive with its precision.
    """

    name: str
    kind: str
    ms: float
    share: float
    calls: int
    kernel: str = ""


def profile_operators(
    runtime: str,
    path: Path,
    spec: GraphSpec,
    options: SessionOptions,
    inputs: Mapping[str, Tensor],
    *,
    runs: int = 20,
) -> tuple[OperatorTime, ...]:
    """Open a graph as its adapter does, with the runtime's profiler on, and time its operators.

    Args:
        runtime: The runtime's name.
        path: The graph.
        spec: What the manifest says of it.
        options: The same as where it runs.
        inputs: As for :meth:`Session.run`; every run gets the same.
        runs: Runs to time, after a few warm-ups.

    Returns:
        The operators, dearest first. Of one with subgraphs (``If``, ``Loop``) in ONNX Runtime, the time
        of what is inside counts twice.

    Raises:
        BackendError: If this runtime or provider has no profiler of single operators, or what
            :meth:`Runtime.open` raises.
        OptionError: If there is no such runtime, or ``runs`` is below 1.
        SessionError: If the inputs do not fit, or a run fails.
    """
    if runs < 1:
        raise OptionError(f"runs must be 1 or more, got {runs}")
    version = get_runtime(runtime).version()
    match runtime:
        case OnnxRuntime.name:
            measured = _onnx(path, spec, options, inputs, runs)
        case OpenVinoRuntime.name:
            measured = _openvino(path, spec, options, inputs, runs)
        case "tflite":
            raise BackendError(
                f"{version} has no profiler of single operators in its Python package; run LiteRT's own tool:"
                f" benchmark_model --graph={path.name} --enable_op_profiling=true"
            )
        case _:
            raise BackendError(
                f"edge_vseg knows no profiler of single operators in runtime {runtime!r} ({version});"
                f" it reads those of {OnnxRuntime.name} and {OpenVinoRuntime.name}"
            )
    return _by_cost(measured)


def _onnx(
    path: Path, spec: GraphSpec, options: SessionOptions, inputs: Mapping[str, Tensor], runs: int
) -> list[Measured]:
    if options.provider in ASYNCHRONOUS:
        raise BackendError(
            f"onnxruntime's profiler tells for provider {options.provider!r} how long launching an operator took,"
            " not computing it; use NVIDIA's tool: nsys profile"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="edge-vseg-") as folder:
            session = OnnxRuntime().open(path, spec, options, profile_to=Path(folder) / "operators")
            try:
                _repeat(session, inputs, WARM_UPS + runs)
                # Names of nodes are any bytes, and one that is not UTF-8 must not cost the whole profile.
                text = session.end_profiling().read_text(encoding="utf-8", errors="replace")
            finally:
                session.close()
    except OSError as exc:
        raise SessionError(f"onnxruntime's profile cannot be kept: {exc}; set TMPDIR to a folder with room") from exc
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


def _by_cost(measured: list[Measured]) -> tuple[OperatorTime, ...]:
    total = sum(each.ms for each in measured)
    if total <= 0:
        raise SessionError("the profiler counted no time in any operator; give more runs")
    times = [
        OperatorTime(
            name=each.name, kind=each.kind, ms=each.ms, share=each.ms / total, calls=each.calls, kernel=each.kernel
        )
        for each in measured
    ]
    return tuple(sorted(times, key=lambda each: -each.ms))
