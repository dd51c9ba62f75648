"""Reading ONNX files that may be anything."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import SIZE_HW, Net, body, segmenter_onnx
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.errors import CustomOperatorError, ModelFileError, SourceError
from edge_vseg.export.graph.onnx_file import all_nodes, check_onnx, read_onnx


@pytest.fixture(scope="module")
def good() -> bytes:
    return segmenter_onnx().SerializeToString()


def write(tmp_path, data: bytes):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    return path


def test_a_good_file_is_read(tmp_path, good):
    model = read_onnx(write(tmp_path, good)).model
    assert [n.op_type for n in model.graph.node] == ["Conv", "Relu", "Conv", "Resize", "Softmax"]


def test_missing(tmp_path):
    with pytest.raises(ModelFileError, match="no model at .*net.onnx"):
        read_onnx(tmp_path / "net.onnx")


def test_folder(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_onnx(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n", "Git LFS pointer.*git lfs pull"),
        (b"<html>404</html>", "damaged or no ONNX"),
        (bytes(1000), "damaged or no ONNX"),
    ],
    ids=["empty", "lfs", "html", "zeros"],
)
def test_no_model_at_all(tmp_path, data, message):
    with pytest.raises(ModelFileError, match=message):
        read_onnx(write(tmp_path, data))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999])
def test_truncated(tmp_path, good, share):
    with pytest.raises(ModelFileError, match="damaged|no nodes"):
        read_onnx(write(tmp_path, good[: int(len(good) * share)]))


def test_bit_flips_give_a_valid_model_or_a_named_error(tmp_path, good):
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(600):
        data = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            onnx.checker.check_model(read_onnx(write(tmp_path, bytes(data))).model)
        except SourceError:
            refused += 1
    assert 10 < refused < 600


def test_bit_flips_in_the_structure(tmp_path, good):
    """Most bytes are weights; here only the others are hit, and the errors are still named."""
    weights = [t.raw_data for t in onnx.load_model_from_string(good).graph.initializer if len(t.raw_data) > 64]
    structure = np.ones(len(good), bool)
    for blob in weights:
        start = good.index(blob)
        structure[start : start + len(blob)] = False
    places = np.flatnonzero(structure)
    rng = np.random.default_rng(11)
    refused = 0
    for place in rng.choice(places, 500):
        data = bytearray(good)
        data[place] ^= 1 << int(rng.integers(8))
        try:
            read_onnx(write(tmp_path, bytes(data)))
        except SourceError:
            refused += 1
    assert refused > 100


def test_custom_domain(tmp_path):
    net = Net()
    model = net.model(net.node("Sparkle", body(net), domain="com.acme"), domains=["com.acme"])
    with pytest.raises(CustomOperatorError, match="com.acme::Sparkle"):
        read_onnx(write(tmp_path, model.SerializeToString()))


def test_custom_operator_inside_a_branch(tmp_path):
    net = Net()
    x = body(net)
    shape = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    inner = helper.make_node("Sparkle", [x], ["b"], domain="com.acme")
    branch = helper.make_graph([inner], "branch", [], [shape])
    condition = net.const(True, np.bool_)
    model = net.model(net.node("If", condition, then_branch=branch, else_branch=branch), domains=["com.acme"])
    with pytest.raises(CustomOperatorError, match="com.acme::Sparkle"):
        check_onnx(model, where="net")


def test_unknown_operator_of_the_standard_domain(tmp_path):
    net = Net()
    model = net.model(net.node("Convolute", body(net)))
    with pytest.raises(CustomOperatorError, match="Convolute"):
        read_onnx(write(tmp_path, model.SerializeToString()))


def test_local_functions_are_inlined():
    net = Net()
    model = net.model(net.node("Twice", body(net), domain="local"), domains=["local"])
    add = helper.make_node("Add", ["x", "x"], ["y"])
    del model.graph.output[:], model.graph.value_info[:]
    model.graph.output.append(
        helper.make_tensor_value_info(model.graph.node[-1].output[0], TensorProto.FLOAT, (1, 4, 12, 16))
    )
    twice = helper.make_function("local", "Twice", ["x"], ["y"], [add], [helper.make_opsetid("", 20)])
    model.functions.append(twice)
    checked = check_onnx(model, where="net")
    assert [n.op_type for n in checked.graph.node] == ["Conv", "Relu", "Conv", "Add"]


def test_opset_6(tmp_path):
    net = Net()
    model = net.model(net.node("Relu", net.conv("image", 3, 4)), opset=6)
    with pytest.raises(ModelFileError, match="opset 6; expected 7"):
        read_onnx(write(tmp_path, model.SerializeToString()))


def test_no_nodes(tmp_path):
    model = helper.make_model(helper.make_graph([], "empty", [], []))
    with pytest.raises(ModelFileError, match="no nodes"):
        read_onnx(write(tmp_path, model.SerializeToString()))


def test_ir_3_without_initializers_among_the_inputs(tmp_path):
    """Before IR 4 initializers had to be inputs too; many converters forgot."""
    net = Net()
    model = net.model(body(net), opset=8, ir=3)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    assert len(read_onnx(write(tmp_path, model.SerializeToString())).model.graph.input) == 1


def test_a_node_that_reads_nothing_is_invalid(tmp_path):
    net = Net()
    model = net.model(net.node("Relu", "nowhere"), shape=(1, 3, *SIZE_HW))
    with pytest.raises(ModelFileError, match="damaged or invalid"):
        read_onnx(write(tmp_path, model.SerializeToString()))


def test_nodes_of_one_name_are_told_apart(tmp_path):
    """ONNX Runtime refuses them; here in a branch of an If as well."""
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"], "same")],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 3])],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "same"),
        helper.make_node("Relu", ["a"], ["c"], "same_1"),
        helper.make_node("If", ["on"], ["d"], "same", then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["c", "d"], ["y"], ""),
        helper.make_node("Identity", ["y"], ["z"], ""),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3])])
    graph.initializer.append(numpy_helper.from_array(np.array(True), "on"))
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    model = read_onnx(path).model
    names = [node.name for node in all_nodes(model.graph)]
    named = [name for name in names if name]
    assert len(set(named)) == len(named) == 5
    assert names.count("") == 2
    assert named[:2] == ["same", "same_1"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (z,) = session.run(None, {"x": np.array([[-1, 0, 2]], np.float32)})
    np.testing.assert_array_equal(z, [[1, 0, 0]])


def test_an_input_that_nothing_reads_is_dropped(tmp_path, good):
    model = onnx.load_model_from_string(good)
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 7]))
    checked = read_onnx(write(tmp_path, model.SerializeToString())).model
    assert [each.name for each in checked.graph.input] == [model.graph.input[0].name]
