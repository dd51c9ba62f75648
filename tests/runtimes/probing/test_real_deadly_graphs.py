"""Well-formed files with the right hash that kill or block real runtimes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_network import ASSETS, installed, manifest, variant

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendCrashError, ProbeTimeoutError
from edge_vseg.runtimes import SessionOptions
from edge_vseg.runtimes.probing import ProbeRecord, ProbeRule, VariantProbe


def check(root: Path, made: Variant, data: bytes, seconds: float) -> None:
    (root / made.entry).parent.mkdir(parents=True, exist_ok=True)
    (root / made.entry).write_bytes(data)
    bundle = Bundle(root=root, manifest=manifest(made), sha256="a" * 64)
    probe = VariantProbe(bundle=bundle, rule=ProbeRule(seconds=seconds), record=ProbeRecord(None))
    probe.check(made, SessionOptions(threads=1))


def test_a_tflite_operator_without_input(tmp_path: Path) -> None:
    installed("tflite")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    data = (ASSETS / "tiny.tflite").read_bytes()
    made = variant("tflite/float", "tflite")
    check(tmp_path, made, data, 60)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
    model.subgraphs[0].operators[-1].inputs[0] = -1
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(BackendCrashError, match="tiny.tflite was tried out with tflite .* died by SIGSEGV"):
        check(tmp_path, made, bytes(builder.Output()), 60)


def test_an_onnx_loop_without_end(tmp_path: Path) -> None:
    installed("onnxruntime")
    onnx = pytest.importorskip("onnx")
    made = variant("onnxruntime/float", "onnxruntime")
    with pytest.raises(ProbeTimeoutError, match="tiny.onnx was tried out with onnxruntime .* stopped after 5 s"):
        check(tmp_path, made, endless_loop(onnx), 5)


def endless_loop(onnx: object) -> bytes:
    """A graph with the tiny network's input and output that counts for ever."""
    helper, kinds = onnx.helper, onnx.TensorProto
    shape = (1, 3, 12, 16)

    def scores(name: str) -> object:
        return helper.make_tensor_value_info(name, kinds.FLOAT, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Add", ["x", "x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("number", kinds.INT64, []),
            helper.make_tensor_value_info("go", kinds.BOOL, []),
            scores("x"),
        ],
        [helper.make_tensor_value_info("again", kinds.BOOL, []), scores("y")],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "zero"], ["scores"], body=body)],
        "for-ever",
        [helper.make_tensor_value_info("frame", kinds.UINT8, (1, 24, 32, 3))],
        [scores("scores")],
        [
            helper.make_tensor("true", kinds.BOOL, [], [True]),
            helper.make_tensor("zero", kinds.FLOAT, shape, [0.0] * (3 * 12 * 16)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
