"""Graphs that are not what their bundle says, where only a run or a damaged file shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_network import installed, tensor

from edge_vseg.bundle.manifest import HeadSpec, TensorSpec
from edge_vseg.errors import OptionError, ProviderError, SessionError
from edge_vseg.imaging.label_maps import read_label_map
from edge_vseg.runtimes.checked_run import run_checked
from edge_vseg.runtimes.graph_checks import backend_failures, check_file
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.scheduling.map_maker import MapMaker
from edge_vseg.scheduling.state import Origin, Track

SPEC = GraphSpec.of(
    input=tensor("frame", (1, 24, 32, 3), "uint8", "NHWC"),
    output=tensor("scores", (1, 3, 12, 32), "float32", "NCHW"),
)


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """A graph that gives as many rows of scores as the frame's first value says."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["frame"], ["numbers"], to=kinds.INT64),
        helper.make_node("Reshape", ["numbers", "flat"], ["line"]),
        helper.make_node("Gather", ["line", "zero"], ["rows"]),
        helper.make_node("Cast", ["frame"], ["floats"], to=kinds.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Slice", ["planes", "zero", "rows", "axis"], ["scores"]),
    ]
    constants = {"flat": [-1], "zero": [0], "axis": [2]}
    graph = helper.make_graph(
        nodes,
        "growing",
        [helper.make_tensor_value_info("frame", kinds.UINT8, (1, 24, 32, 3))],
        [helper.make_tensor_value_info("scores", kinds.FLOAT, (1, 3, None, 32))],
        [helper.make_tensor(name, kinds.INT64, [1], values) for name, values in constants.items()],
    )
    path = tmp_path / "growing.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_output_that_changes_its_shape(name: str, growing: Path) -> None:
    session = installed(name).open(growing, SPEC, SessionOptions(threads=1))
    frame = np.full((1, 24, 32, 3), 12, np.uint8)
    assert run_checked(session, {"frame": frame}, SPEC.outputs)["scores"].shape == (1, 3, 12, 32)
    for rows in (13, 1, 0):
        with pytest.raises(
            SessionError, match=r"expected output 'scores' \(1, 3, 12, 32\) float32, and the runtime gave"
        ):
            run_checked(session, {"frame": np.full_like(frame, rows)}, SPEC.outputs)
    assert run_checked(session, {"frame": frame}, SPEC.outputs)["scores"].shape == (1, 3, 12, 32)
    session.close()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"scores": np.zeros((1, 3, 12, 32), np.float64)}, "gave (1, 3, 12, 32) float64"),
        ({"scores": [[0.0]]}, "gave list"),
        ({"labels": np.zeros(3)}, "gave only labels"),
        ({}, "gave only nothing"),
        ({"scores": np.full((1, 3, 12, 32), np.nan, np.float32)}, "gave 1152 of 1152 values"),
    ],
)
def test_an_output_that_is_not_the_one_declared(given: dict[str, Any], why: str) -> None:
    class Lying:
        provider = "none"

        def run(self, inputs: object) -> dict[str, Any]:
            return given

        def close(self) -> None: ...

    with pytest.raises(SessionError, match=re.escape(why)):
        run_checked(Lying(), {}, SPEC.outputs)


@pytest.mark.parametrize("error", [IndexError("vector"), MemoryError(), cv2.error("resize"), OverflowError("too big")])
def test_whatever_a_backend_raises_has_a_name(error: Exception) -> None:
    with (
        pytest.raises(SessionError, match="it failed: .*; do this") as caught,
        backend_failures("it failed", "do this"),
    ):
        raise error
    assert caught.value.__cause__ is error


def test_a_named_error_keeps_its_name() -> None:
    with pytest.raises(OptionError, match="as it was"), backend_failures("it failed", "do this", ProviderError):
        raise OptionError("as it was")


def test_a_format_that_would_read_more_files(tmp_path: Path) -> None:
    path = tmp_path / "graph.pdmodel"
    path.write_bytes(b"x")
    with pytest.raises(SessionError, match=r"expected a \.xml or \.onnx file"):
        check_file(path, ".xml", ".onnx")
    for name in ("onnxruntime", "openvino"):
        with pytest.raises(SessionError, match="is no graph: expected"):
            installed(name).open(path, SPEC, SessionOptions())


@pytest.mark.parametrize(
    "value", [256, 300, -1, 2**40, 1.5, float("nan"), float("inf"), -0.5], ids=lambda value: str(value)
)
def test_label_ids_do_not_wrap(value: float) -> None:
    dtype = "int64" if isinstance(value, int) else "float32"
    spec = TensorSpec(name="labels", shape=(1, 2, 2), dtype=dtype, layout="NHW")
    head = HeadSpec(kind="labels", size_hw=(2, 2))
    raw = np.array([[[0, 1], [254, 255]]], dtype)
    np.testing.assert_array_equal(read_label_map(raw, spec, head), [[0, 1], [254, 255]])
    raw[0, 1, 0] = value
    with pytest.raises(SessionError, match="no class ids"):
        read_label_map(raw, spec, head)


@pytest.mark.parametrize("value", [3, 4, 254])
def test_label_ids_are_classes_of_the_bundle(value: int) -> None:
    spec = TensorSpec(name="labels", shape=(1, 2, 2), dtype="int64", layout="NHW")
    maker = MapMaker(spec, HeadSpec(kind="labels", size_hw=(2, 2)), 1.0, classes=3)
    raw = np.array([[[0, 1], [2, 255]]], "int64")
    track = Track.begin(Origin(frame=0, capture_ns=0), (2, 2))
    shown = maker.make(raw, track, None)
    np.testing.assert_array_equal(shown.coarse_labels, [[0, 1], [2, 255]])
    raw[0, 1, 0] = value
    with pytest.raises(SessionError, match=f"gives {value} in 1 of 4 places.* 3 classes, 0 to 2, and 255"):
        maker.make(raw, track, None)
