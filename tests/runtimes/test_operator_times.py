"""Times of single operators, of real graphs in real runtimes."""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_network import ASSETS, Tiny, installed, tensor

from edge_vseg.errors import BackendError, OptionError, ProviderError, SessionError
from edge_vseg.runtimes import GraphSpec, SessionOptions, runtime_names
from edge_vseg.runtimes.backends.onnx_runtime import OnnxRuntime
from edge_vseg.runtimes.backends.openvino_runtime import PERF_COUNT
from edge_vseg.runtimes.operator_times.measurement import OperatorTime, profile_operators
from edge_vseg.runtimes.operator_times.onnx_trace import read_onnx_trace
from edge_vseg.runtimes.operator_times.openvino_counters import mean_times

GRAPHS = [
    pytest.param("onnxruntime", "tiny.onnx", "Conv", id="onnxruntime"),
    pytest.param("openvino", "tiny.xml", "Convolution", id="openvino-ir"),
    pytest.param("openvino", "tiny.onnx", "Convolution", id="openvino-onnx"),
]
ONE_THREAD = SessionOptions(threads=1)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files and the working directory are."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    return folder


def profile(name: str, file: str, tiny: Tiny, options: SessionOptions = ONE_THREAD, **more: int) -> tuple[OperatorTime]:
    installed(name)
    return profile_operators(name, ASSETS / file, tiny.spec, options, {"frame": tiny.frame}, **more)


@pytest.mark.parametrize(("name", "file", "kind"), GRAPHS)
def test_operators_are_sorted_by_time(name: str, file: str, kind: str, tiny: Tiny, scratch: Path) -> None:
    times = profile(name, file, tiny, runs=5)
    # ONNX Runtime fuses the ReLU into the convolution, which it calls FusedConv on Arm and Conv on x86.
    assert sum(each.kind.removeprefix("Fused") == kind for each in times) == 2
    assert all(each.name and each.kind and each.kernel for each in times)
    assert [each.ms for each in times] == sorted((each.ms for each in times), reverse=True)
    assert sum(each.share for each in times) == pytest.approx(1)
    assert {each.calls for each in times} == {5}
    assert len({(each.name, each.kind) for each in times}) == len(times)
    assert list(scratch.iterdir()) == []


@pytest.mark.serial
@pytest.mark.parametrize(("name", "file", "kind"), GRAPHS)
def test_their_sum_is_about_a_run(name: str, file: str, kind: str, tiny: Tiny) -> None:
    session = installed(name).open(ASSETS / file, tiny.spec, ONE_THREAD)
    samples = []
    for _ in range(30):
        begin = time.perf_counter()
        session.run({"frame": tiny.frame})
        samples.append((time.perf_counter() - begin) * 1e3)
    session.close()
    total = sum(each.ms for each in profile(name, file, tiny))
    # Of so small a graph, most of a run is not spent in operators.
    assert 0.02 * statistics.median(samples) < total < 3 * statistics.median(samples)


@pytest.mark.parametrize(("name", "file", "kind"), GRAPHS)
def test_options_reach_the_profiled_session(name: str, file: str, kind: str, tiny: Tiny) -> None:
    with pytest.raises(ProviderError, match="(?i)quantum"):
        profile(name, file, tiny, SessionOptions(provider="quantum"))


def test_profiling_uses_the_same_threads_and_spinning(tiny: Tiny, tmp_path: Path) -> None:
    installed("onnxruntime")
    session = OnnxRuntime().open(
        ASSETS / "tiny.onnx", tiny.spec, SessionOptions(threads=2), profile_to=tmp_path / "profile"
    )
    settings = session._session.get_session_options()
    assert settings.intra_op_num_threads == 2
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session.end_profiling().parent == tmp_path
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.end_profiling()


def test_a_session_without_a_profiler_has_no_profile(tiny: Tiny, scratch: Path) -> None:
    session = installed("onnxruntime").open(ASSETS / "tiny.onnx", tiny.spec, ONE_THREAD)
    with pytest.raises(SessionError, match="without profile_to"):
        session.end_profiling()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("name", "file", "kind"), GRAPHS)
@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param({}, "got nothing", id="none"),
        pytest.param({"frame": np.zeros((1, 24, 32, 4), np.uint8)}, r"got \(1, 24, 32, 4\) uint8", id="shape"),
    ],
)
def test_wrong_inputs_leave_no_files(
    name: str, file: str, kind: str, inputs: dict[str, np.ndarray], words: str, tiny: Tiny, scratch: Path
) -> None:
    installed(name)
    with pytest.raises(SessionError, match=words):
        profile_operators(name, ASSETS / file, tiny.spec, ONE_THREAD, inputs)
    assert list(scratch.iterdir()) == []


def test_graph_that_differs_from_its_spec_is_refused(tiny: Tiny, scratch: Path) -> None:
    installed("onnxruntime")
    spec = GraphSpec.of(input=tiny.spec.input, output=tensor("labels", (1, 3, 12, 16), "float32", "NCHW"))
    with pytest.raises(SessionError, match="no output 'labels'"):
        profile_operators("onnxruntime", ASSETS / "tiny.onnx", spec, ONE_THREAD, {"frame": tiny.frame})
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("runs", [0, -1])
def test_runs_below_one_are_refused(runs: int, tiny: Tiny) -> None:
    with pytest.raises(OptionError, match="runs must be at least 1"):
        profile_operators("onnxruntime", ASSETS / "tiny.onnx", tiny.spec, ONE_THREAD, {}, runs=runs)


def test_litert_has_no_profiler_and_names_the_tool(tiny: Tiny) -> None:
    with pytest.raises(
        BackendError, match=r"(litert|tflite).*benchmark_model --graph=tiny\.tflite --enable_op_profiling"
    ):
        profile("tflite", "tiny.tflite", tiny)


def test_runtimes_without_a_profiler_say_so(tiny: Tiny) -> None:
    with pytest.raises(BackendError, match=r"cannot profile operators.*'reference' \(numpy .*onnxruntime or openvino"):
        profile("reference", "blocks.npz", tiny)


def test_unknown_runtime_lists_the_known(tiny: Tiny) -> None:
    with pytest.raises(OptionError, match=", ".join(runtime_names())):
        profile_operators("abacus", ASSETS / "tiny.onnx", tiny.spec, ONE_THREAD, {"frame": tiny.frame})


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_launch_times_are_refused(provider: str, tiny: Tiny) -> None:
    with pytest.raises(BackendError, match=f"{provider}.*times the launch"):
        profile("onnxruntime", "tiny.onnx", tiny, SessionOptions(provider=provider))


def test_full_temporary_folder(tiny: Tiny, scratch: Path) -> None:
    scratch.rmdir()
    with pytest.raises(SessionError, match="TMPDIR"):
        profile("onnxruntime", "tiny.onnx", tiny)


def event(name: str, ts: int, dur: int, index: str = "0", kind: str = "Conv") -> dict[str, object]:
    args = {"op_name": kind, "node_index": index, "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def run(ts: int, dur: int) -> dict[str, object]:
    return {"cat": "Session", "name": "model_run", "ts": ts, "dur": dur, "args": {}}


def test_warm_ups_and_unfinished_runs_do_not_count() -> None:
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 90, "args": {}},
        event("a", 101, 5000),
        run(100, 6000),
        event("a", 7001, 1000),
        event("a", 8001, 40, index="1"),
        {"cat": "Node", "name": "a_fence_before", "ts": 8500, "dur": 1, "args": {}},
        run(7000, 2000),
        event("a", 9101, 3000),
        event("a", 12102, 60, index="1"),
        run(9100, 3500),
        event("a", 13000, 9999),  # and then the profiler was full
    ]
    first, second = read_onnx_trace(json.dumps(events), 1)
    assert (first.name, first.kind, first.calls, second.calls) == ("a", "Conv", 2, 2)
    assert (first.ms, second.ms) == (2.0, 0.05)


def test_a_run_that_was_disturbed_moves_the_mean_and_not_the_median() -> None:
    """Twice in each of three runs, one of which took a hundred times as long."""
    events = [run(0, 50)]
    for number, factor in enumerate((1, 100, 1)):
        begin = 1000 + 10_000 * number
        events += [event("a", begin + 1, 20 * factor), event("a", begin + 4000, 10 * factor), run(begin, 8000)]
    (found,) = read_onnx_trace(json.dumps(events), 1)
    assert found.median_ms == 0.03
    assert found.ms == pytest.approx(0.03 * 102 / 3)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('[{"cat": "Node", "na', id="cut-off"),
        pytest.param("[1]", id="no-events"),
        pytest.param(json.dumps([run(0, 5)]), id="warm-ups-only"),
        pytest.param(json.dumps([run(0, 5), run(9, 5), {"cat": "Node"}]), id="without-a-name"),
    ],
)
def test_invalid_profile_is_refused(text: str) -> None:
    with pytest.raises(SessionError, match="profile cannot be read"):
        read_onnx_trace(text, 1)


def info(name: str, microseconds: int, status: str = "EXECUTED") -> SimpleNamespace:
    return SimpleNamespace(
        node_name=name,
        node_type="Convolution",
        exec_type="jit_avx2_f32",
        status=SimpleNamespace(name=status),
        real_time=timedelta(microseconds=microseconds),
    )


def test_openvino_warm_ups_are_subtracted() -> None:
    """Runs of 500 and 300, then 10, 20 and 30 microseconds: the mean of the first two is 400, of all five 172."""
    (found,) = mean_times(
        [info("a", 400), info("b", 9, "NOT_RUN")], [info("a", 172), info("b", 9, "NOT_RUN")], warm_ups=2, runs=3
    )
    assert found.ms == pytest.approx(0.02)
    assert (found.name, found.kind, found.kernel, found.calls) == ("a", "Convolution", "jit_avx2_f32", 3)


def test_openvino_counters_are_means_since_compilation(tiny: Tiny) -> None:
    """What mean_times relies on: the slow first run stays in the mean. Counters of the last run alone would drop."""
    options = dataclasses.replace(ONE_THREAD, provider_options={PERF_COUNT: "YES"})
    session = installed("openvino").open(ASSETS / "tiny.xml", tiny.spec, options)
    sums_us = []
    for _ in range(4):
        session.run({"frame": tiny.frame})
        sums_us.append(sum(each.real_time.total_seconds() for each in session.profiling_info()) * 1e6)
    nodes = len(session.profiling_info())
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.profiling_info()
    for number, found in enumerate(sums_us, 1):
        assert found >= sums_us[0] / number - nodes, "each node's mean is cut to whole microseconds"
