from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_network import ASSETS, Tiny, installed, tensor

from edge_vseg.errors import ProviderError, SessionError
from edge_vseg.runtimes.backends import openvino_runtime
from edge_vseg.runtimes.backends.openvino_runtime import OpenVinoSession
from edge_vseg.runtimes.cpu import CpuInfo
from edge_vseg.runtimes.packages import Package
from edge_vseg.runtimes.port import GraphSpec, SessionOptions

WATCHED_OPEN = """
import socket, sys, threading
from pathlib import Path

def refuse(*args, **kwargs):
    raise AssertionError(f"network access: {args}")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
sys.path.insert(0, sys.argv[1])
from tiny_network import ASSETS, tiny_spec
from edge_vseg.runtimes import SessionOptions, get_runtime
session = get_runtime("openvino").open(ASSETS / "tiny.xml", tiny_spec(), SessionOptions(threads=1))
print([m for m in sys.modules if m.startswith("openvino_telemetry")])
import openvino
print(openvino.convert_model.__name__)
"""


def open_tiny(tiny: Tiny, **options: object) -> OpenVinoSession:
    session = installed("openvino").open(ASSETS / "tiny.xml", tiny.spec, SessionOptions(**options))
    assert isinstance(session, OpenVinoSession)
    return session


def test_float_stays_float32(tiny: Tiny) -> None:
    compiled = open_tiny(tiny, threads=2)._compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1


def test_provider_options_reach_the_device(tiny: Tiny) -> None:
    compiled = open_tiny(tiny, provider_options={"ENABLE_CPU_PINNING": "NO"})._compiled
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_unknown_property_is_refused(tiny: Tiny) -> None:
    with pytest.raises(SessionError, match="NO_SUCH_PROPERTY"):
        open_tiny(tiny, provider_options={"NO_SUCH_PROPERTY": "1"})


@pytest.mark.parametrize("device", ["cpu", "CPU", "AUTO", "AUTO:CPU"])
def test_device_reports_what_executes(tiny: Tiny, device: str) -> None:
    session = open_tiny(tiny, provider=device)
    assert session.provider.strip("()") in installed("openvino").providers()
    np.testing.assert_allclose(session.run({"frame": tiny.frame})["scores"], tiny.scores, atol=0.02)


@pytest.mark.parametrize("device", ["GPU.9", "AUTO:GPU.9,CPU", "HETERO:CPU,TPU"])
def test_absent_device_is_refused(tiny: Tiny, device: str) -> None:
    with pytest.raises(ProviderError, match=r"no device '(GPU\.9|TPU)' here; it has: .*CPU.*AUTO"):
        open_tiny(tiny, provider=device)


def test_ir_without_its_weights_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "tiny.xml").write_bytes((ASSETS / "tiny.xml").read_bytes())
    with pytest.raises(SessionError, match=r"tiny\.xml"):
        installed("openvino").open(tmp_path / "tiny.xml", tiny.spec, SessionOptions(threads=1))


@pytest.mark.data
@pytest.mark.parametrize("output", ["L0317_ReWeight_SoftMax", "L0317_ReWeight"])
def test_tensor_aliases(models_dir: Path, output: str) -> None:
    spec = GraphSpec.of(
        input=tensor("data", (1, 3, 512, 896), "float32", "NCHW"),
        output=tensor(output, (1, 4, 512, 896), "float32", "NCHW"),
    )
    folder = models_dir / "road-segmentation-adas-0001"
    session = installed("openvino").open(folder / "road-segmentation-adas-0001.xml", spec, SessionOptions(threads=2))
    scores = session.run({"data": np.zeros(spec.input.shape, np.float32)})[output]
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-3)  # the net ends in a softmax


def rounding_graph(path: Path) -> GraphSpec:
    """A graph that rounds to 8 bits, as every int8 graph does."""
    import openvino

    try:
        import openvino.opset13 as ops
    except ImportError:  # before OpenVINO 2024.1
        import openvino.runtime.opset13 as ops

    frame = ops.parameter((1, 4, 4, 3), dtype=np.float32, name="frame")
    limits = [ops.constant(np.float32(value)) for value in (0, 255, 0, 255)]
    scores = ops.fake_quantize(frame, *limits, 256)
    scores.output(0).get_tensor().set_names({"scores"})
    openvino.save_model(openvino.Model([scores], [frame]), path, compress_to_fp16=False)
    return GraphSpec.of(
        input=tensor("frame", (1, 4, 4, 3), "float32", "NHWC"), output=tensor("scores", (1, 4, 4, 3), "float32", "NHWC")
    )


def pretend(monkeypatch: pytest.MonkeyPatch, architecture: str, version: str) -> None:
    """Have OpenVINO's adapter see another CPU and version."""
    cpu = CpuInfo(model="", architecture=architecture, cores=2, features=("asimd", "asimddp"))
    package = Package(name="openvino", version=version)
    monkeypatch.setattr(openvino_runtime, "cpu_features", lambda: cpu)
    monkeypatch.setattr(openvino_runtime, "require_package", lambda *_, **__: package)


@pytest.mark.parametrize(
    ("architecture", "version", "opens"),
    [
        pytest.param("arm64", "2025.3.0", True, id="before"),
        pytest.param("arm64", "2025.4.1", False, id="wrong-2025"),
        pytest.param("arm64", "2026.0.0", False, id="wrong-2026"),
        pytest.param("arm64", "2026.1.0", True, id="mended"),
        pytest.param("x86_64", "2026.0.0", True, id="x86"),
    ],
)
def test_int8_that_is_wrong_on_arm_is_refused(
    architecture: str, version: str, opens: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = installed("openvino")
    spec = rounding_graph(tmp_path / "int8.xml")
    cpu = CpuInfo(model="", architecture=architecture, cores=2, features=("asimd", "asimddp"))
    monkeypatch.setattr(openvino_runtime, "cpu_features", lambda: cpu)
    monkeypatch.setattr(openvino_runtime, "require_package", lambda *_, **__: Package(name="openvino", version=version))
    with (
        contextlib.nullcontext() if opens else pytest.raises(SessionError, match=f"wrong labels in openvino {version}")
    ):
        runtime.open(tmp_path / "int8.xml", spec, SessionOptions(threads=1)).close()


def test_float_opens_where_int8_is_wrong(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = CpuInfo(model="", architecture="arm64", cores=2, features=("asimd",))
    monkeypatch.setattr(openvino_runtime, "cpu_features", lambda: cpu)
    monkeypatch.setattr(
        openvino_runtime, "require_package", lambda *_, **__: Package(name="openvino", version="2026.0.0")
    )
    open_tiny(tiny).close()


def test_no_telemetry_and_no_network(tmp_path: Path) -> None:
    """``import openvino`` alone starts openvino_telemetry, writes to the home folder and calls a server."""
    installed("openvino")
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", WATCHED_OPEN, str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (done.stdout.split("\n")[:2], done.stderr) == (["[]", "convert_model"], "")
    assert list(tmp_path.iterdir()) == []
