"""No byte reaches a runtime that no hash covers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from graph_damage import external_onnx
from tiny_bundle import write_tiny_bundle

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.outside_bytes import outside_references
from edge_vseg.errors import BundleFileError

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture
def external(tmp_path: Path) -> Path:
    pytest.importorskip("onnx")
    path = tmp_path / "graph.onnx"
    path.write_bytes(external_onnx((ASSETS / "tiny.onnx").read_bytes(), "sub/weights.bin"))
    return path


def test_a_graph_that_holds_all() -> None:
    assert outside_references(ASSETS / "tiny.onnx") == ()
    assert outside_references(ASSETS / "tiny.tflite") == ()


def test_the_file_that_an_onnx_graph_names(external: Path) -> None:
    assert outside_references(external) == ("sub/weights.bin",)


def test_a_name_deep_inside_an_onnx_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    tensor = helper.make_tensor("w", kinds.FLOAT, [1], np.zeros(1, np.float32).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(tensor, "../w")
    tensor.ClearField("raw_data")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph([constant], "inner", [], [helper.make_tensor_value_info("c", kinds.FLOAT, [1])])
    outer = helper.make_node("If", ["b"], ["o"], then_branch=inner, else_branch=inner)
    sparse = onnx.SparseTensorProto(values=tensor)
    graph = helper.make_graph([outer], "outer", [], [])
    graph.sparse_initializer.append(sparse)
    function = helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 13)])
    for model in (
        helper.make_model(graph),
        helper.make_model(helper.make_graph([], "g", [], []), functions=[function]),
    ):
        path = tmp_path / "graph.onnx"
        # An unknown field and a group, which protocol buffers skip, must hide nothing.
        path.write_bytes(b"\xfb\x3e\xfc\x3e" + b"\xf8\x3e\x01" + model.SerializeToString())
        assert outside_references(path) == ("../w",)


@pytest.mark.parametrize("cut", [0, 1, 10, 100, 1000])
def test_a_truncated_graph(cut: int, external: Path) -> None:
    external.write_bytes(external.read_bytes()[:cut])
    assert outside_references(external) in ((), ("sub/weights.bin",))


def test_weights_beside_an_openvino_graph(tmp_path: Path) -> None:
    shutil.copyfile(ASSETS / "tiny.xml", tmp_path / "tiny.xml")
    assert outside_references(tmp_path / "tiny.xml") == ()
    (tmp_path / "tiny.bin").symlink_to("nowhere")
    assert outside_references(tmp_path / "tiny.xml") == ("tiny.bin",)


def test_a_bundle_whose_weights_no_hash_covers(tmp_path: Path) -> None:
    root = write_tiny_bundle(tmp_path / "tiny.evseg", "openvino")
    index = root / "manifest.json"
    tree = json.loads(index.read_bytes())
    tree["variants"][0]["files"].remove("openvino/float/tiny.bin")
    del tree["files"]["openvino/float/tiny.bin"]
    index.write_text(json.dumps(tree))
    bundle = open_bundle(root)
    (variant,) = bundle.manifest.variants
    with pytest.raises(BundleFileError, match=r"makes a runtime read 'tiny.bin', which is not among the files"):
        bundle.entry(variant)


def test_a_hard_link_counts_as_what_it_holds(reference_bundle: Path, tmp_path: Path) -> None:
    bundle = open_bundle(reference_bundle)
    (variant,) = bundle.manifest.variants
    graph = reference_bundle / variant.entry
    outside = tmp_path / "outside.npz"
    graph.rename(outside)
    os.link(outside, graph)
    assert open_bundle(reference_bundle).entry(variant) == graph
    with outside.open("r+b") as file:
        file.write(b"other")
    with pytest.raises(BundleFileError, match="SHA-256 differs"):
        open_bundle(reference_bundle).entry(variant)
