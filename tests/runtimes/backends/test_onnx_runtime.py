from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_network import ASSETS, Tiny, installed, tensor

from edge_vseg.errors import OptionError, ProviderError
from edge_vseg.runtimes.backends.onnx_runtime import PROVIDERS, SPINNING, OnnxSession
from edge_vseg.runtimes.port import GraphSpec, SessionOptions


def open_tiny(tiny: Tiny, **options: object) -> OnnxSession:
    session = installed("onnxruntime").open(ASSETS / "tiny.onnx", tiny.spec, SessionOptions(**options))
    assert isinstance(session, OnnxSession)
    return session


def test_threads_and_spinning_reach_the_session(tiny: Tiny) -> None:
    settings = open_tiny(tiny, threads=2)._session.get_session_options()
    assert settings.intra_op_num_threads == 2
    assert settings.get_session_config_entry(SPINNING) == "0"


def test_session_entries_come_from_provider_options(tiny: Tiny) -> None:
    settings = open_tiny(tiny, provider_options={SPINNING: "1"})._session.get_session_options()
    assert settings.get_session_config_entry(SPINNING) == "1"


def test_cpu_takes_no_provider_options(tiny: Tiny) -> None:
    with pytest.raises(OptionError, match=r"device_id.*begin with 'session\.'"):
        open_tiny(tiny, provider_options={"device_id": "0"})


def test_provider_outside_this_build_is_refused_and_nothing_is_printed(
    tiny: Tiny, capfd: pytest.CaptureFixture[str]
) -> None:
    absent = next((p for p in PROVIDERS if p not in installed("onnxruntime").providers()), None)
    if absent is None:
        pytest.skip("this ONNX Runtime has every provider")
    with pytest.raises(ProviderError, match=rf"{absent}.*here has .*cpu"):
        open_tiny(tiny, provider=absent)
    assert capfd.readouterr() == ("", "")


@pytest.mark.data
def test_open_batch_dimension_is_accepted(models_dir: Path) -> None:
    """prisma.onnx leaves its batch size open; the spec says 1."""
    spec = GraphSpec.of(
        input=tensor("input_3", (1, 3, 256, 256), "float32", "NCHW"),
        output=tensor("permute_2", (1, 1, 256, 256), "float32", "NCHW"),
    )
    path = models_dir / "prisma-person" / "prisma.onnx"
    frame = np.zeros(spec.input.shape, np.float32)
    scores = [
        installed(name).open(path, spec, SessionOptions(threads=1)).run({"input_3": frame})["permute_2"]
        for name in ("onnxruntime", "openvino")
    ]
    assert scores[0].shape == spec.output.shape
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


def test_second_input_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from edge_vseg.errors import SessionError

    value = onnx.helper.make_tensor_value_info
    inputs = [value(n, onnx.TensorProto.UINT8, tiny.spec.input.shape) for n in ("frame", "mask")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["frame", "mask"], ["sum"])],
        "two",
        inputs,
        [value("sum", onnx.TensorProto.UINT8, tiny.spec.input.shape)],
    )
    path = tmp_path / "two.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 14)]), path)
    spec = GraphSpec.of(input=tiny.spec.input, output=tensor("sum", (1, 24, 32, 3), "uint8", "NHWC"))
    for name in ("onnxruntime", "openvino"):
        with pytest.raises(SessionError, match=r"takes 2 inputs.*'frame'.*'mask'"):
            installed(name).open(path, spec, SessionOptions(threads=1))
