"""What the importer folds, keeps and refuses, and how it says so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import assert_same, model_of, one_node, run_torch

from edge_vseg.errors import DynamicShapeError, ExportError, ModelFileError, UnsupportedOperatorError
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.onnx_to_torch.table import FAMILIES, TABLE


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def graph(nodes, inputs, outputs, weights=(), opset=20):
    make = helper.make_tensor_value_info
    infos = [make(name, code, shape) for name, code, shape in inputs]
    made = [make(name, code, shape) for name, code, shape in outputs]
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights]
    proto = helper.make_graph(nodes, "graph", infos, made, weights)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


FLOAT = TensorProto.FLOAT


def test_size_computed_from_shapes_becomes_a_constant():
    nodes = [
        helper.make_node("Shape", ["like"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four", "zero"], ["hw"]),
        helper.make_node("Shape", ["x"], ["x_shape"], start=0, end=2),
        helper.make_node("Concat", ["x_shape", "hw"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    x, like = image(1, 2, 3, 4), image(1, 1, 6, 12)
    arrays = {"x": x, "like": like, "zero": np.array([0]), "two": np.array([2]), "four": np.array([4])}
    model = model_of(nodes, arrays, ["y"], opset=18, frozen=[2, 3, 4])
    assert_same(model, [x, like])
    assert not [name for name, _ in to_torch(model).named_buffers()]


def test_computed_weight_is_folded_into_a_buffer():
    nodes = [
        helper.make_node("Mul", ["w", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    x, w = image(2, 3), image(4, 3)
    model = model_of(nodes, {"x": x, "w": w, "scale": np.float32(2)}, ["y"], opset=13, frozen=[1, 2])
    (buffer,) = to_torch(model).buffers()
    np.testing.assert_array_equal(buffer.numpy(), 2 * w.T)
    assert_same(model, [x])


def test_output_may_be_a_constant_or_an_input():
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Identity", ["x"], ["same"])]
    model = model_of(nodes, {"x": image(1, 2)}, ["shape", "same"], opset=13)
    shape, same = run_torch(model, [image(1, 2)])
    np.testing.assert_array_equal(shape, [1, 2])
    np.testing.assert_array_equal(same, image(1, 2))


def written_out_gelu(*, half_first, division):
    scale = ("Div", np.float32(2**0.5)) if division else ("Mul", np.float32(0.5**0.5))
    nodes = [
        helper.make_node(scale[0], ["x", "scale"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["sum"]),
    ]
    if half_first:
        nodes += [helper.make_node("Mul", ["half", "x"], ["h"]), helper.make_node("Mul", ["h", "sum"], ["y"])]
    else:
        nodes += [helper.make_node("Mul", ["x", "sum"], ["p"]), helper.make_node("Mul", ["p", "half"], ["y"])]
    weights = {"scale": scale[1], "one": np.float32(1), "half": np.float32(0.5)}
    return nodes, {"x": image(2, 3), **weights}


@pytest.mark.parametrize("division", [True, False], ids=["x / sqrt 2", "x * sqrt half"])
@pytest.mark.parametrize("half_first", [True, False], ids=["half x first", "half last"])
def test_written_out_gelu_becomes_one_node(half_first, division):
    nodes, arrays = written_out_gelu(half_first=half_first, division=division)
    model = model_of(nodes, arrays, ["y"], opset=20, frozen=[1, 2, 3])
    assert_same(model, [arrays["x"]])
    assert len(to_torch(model)._calls) == 1


def test_gelu_with_an_intermediate_output_keeps_that_output():
    nodes, arrays = written_out_gelu(half_first=False, division=True)
    model = model_of(nodes, arrays, ["y", "erf"], opset=20, frozen=[1, 2, 3])
    assert_same(model, [arrays["x"]])
    assert len(to_torch(model)._calls) == 3


def test_gelu_with_another_scale_is_not_replaced():
    nodes, arrays = written_out_gelu(half_first=False, division=True)
    arrays["scale"] = np.float32(1.5)
    model = model_of(nodes, arrays, ["y"], opset=20, frozen=[1, 2, 3])
    assert_same(model, [arrays["x"]])
    assert len(to_torch(model)._calls) == 5


def test_random_numbers_are_not_folded():
    nodes = [helper.make_node("RandomNormal", [], ["r"], shape=[1, 2]), helper.make_node("Add", ["x", "r"], ["y"])]
    model = graph(nodes, [("x", FLOAT, [1, 2])], [("y", FLOAT, [1, 2])])
    with pytest.raises(UnsupportedOperatorError, match="RandomNormal"):
        to_torch(model)


def test_inputs_are_positional_or_named():
    model = model_of([helper.make_node("Sub", ["a", "b"], ["y"])], {"a": image(2), "b": image(2)}, ["y"], opset=13)
    module = to_torch(model)
    a, b = torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0])
    assert module(a, b).tolist() == module(a, b=b).tolist() == module(b=b, a=a).tolist() == [4.0, 4.0]
    for wrong in ((a,), (a, b, a)):
        with pytest.raises(TypeError, match="expected 2 inputs"):
            module(*wrong)
    with pytest.raises(TypeError, match="expected 2 inputs"):
        module(a, c=b)


def test_input_with_an_initialiser_is_a_constant():
    model = one_node("Add", [image(2), image(2)], opset=13, frozen=[1])
    model.graph.input.append(helper.make_tensor_value_info("in1", FLOAT, [2]))
    np.testing.assert_array_equal(run_torch(model, [image(2)])[0], 2 * image(2))


def test_intermediate_tensors_are_dropped_after_their_last_use():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Add", ["b", "x"], ["y"]),
    ]
    module = to_torch(model_of(nodes, {"x": image(2)}, ["y"], opset=13))
    assert module._last_uses == ((), ("a",), ("b", "x"))


def test_module_is_exportable_and_in_evaluation_mode():
    module = to_torch(one_node("Relu", [image(1, 3, 4, 4)], opset=13))
    assert not module.training
    exported = torch.export.export(module, (torch.zeros(1, 3, 4, 4),))
    assert torch.equal(exported.module()(-torch.ones(1, 3, 4, 4)), torch.zeros(1, 3, 4, 4))


def test_error_lists_all_unsupported_operators_and_features():
    crop = "tf_crop_and_resize"
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="det_1"),
        helper.make_node("Relu", ["d"], ["r"], name="fine"),
        helper.make_node("NonZero", ["r"], ["n"], name="nonzero_1"),
        helper.make_node("Softfoo", ["x"], ["c"], name="custom", domain="acme"),
        helper.make_node(
            "Resize", ["x", "", "s"], ["up"], name="up", mode="cubic", coordinate_transformation_mode=crop
        ),
        helper.make_node("Pad", ["x", "p"], ["q"], name="pad", mode="mirror"),
        *(helper.make_node("Det", ["x"], [f"d{i}"], name=f"again_{i}") for i in range(8)),
    ]
    weights = [("s", np.float32([1, 1, 2, 2])), ("p", np.int64([0] * 8))]
    model = graph(nodes, [("x", FLOAT, [1, 2, 4, 4])], [("q", FLOAT, None)], weights)
    with pytest.raises(UnsupportedOperatorError) as error:
        to_torch(model)
    message = str(error.value)
    for part in ("Det ('det_1', 'again_0'", "and 4 more", "NonZero ('nonzero_1')", "acme::Softfoo ('custom')"):
        assert part in message
    for part in ("Resize (node 'up'): coordinate", "Pad (node 'pad'): mode 'mirror'", "docs/operators.md"):
        assert part in message
    assert "TFLite" not in message  # training asks as well; whoever asked says what cannot be done, and what can
    assert "--" not in message
    assert "\n" not in message
    assert "Relu" not in message


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "words"),
    [
        ("Conv", [image(1, 1, 3, 3, 3), image(1, 1, 2, 2, 2)], {}, "3 spatial axes; 1 and 2 are supported"),
        ("MaxPool", [image(1, 1, 4, 4)], {"kernel_shape": [2, 2], "outputs": 2}, "output Indices"),
    ],
    ids=["conv3d", "indices"],
)
def test_unsupported_feature_names_operator_node_and_reason(op_type, inputs, attributes, words):
    with pytest.raises(UnsupportedOperatorError, match=rf"{op_type} \(node 'the_{op_type.lower()}'\): .*{words}"):
        to_torch(one_node(op_type, inputs, opset=13, **attributes))


def test_negative_pads_are_unsupported():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="c", pads=[-1, 0, 0, 0])]
    model = graph(nodes, [("x", FLOAT, [1, 1, 4, 4])], [("y", FLOAT, None)], [("w", image(1, 1, 3, 3))])
    with pytest.raises(UnsupportedOperatorError, match=r"Conv \(node 'c'\): negative pads"):
        to_torch(model)


def test_computed_shape_names_the_input():
    nodes = [helper.make_node("Reshape", ["x", "in1"], ["y"])]
    model = graph(nodes, [("x", FLOAT, [2, 3]), ("in1", TensorProto.INT64, [2])], [("y", FLOAT, None)])
    with pytest.raises(UnsupportedOperatorError, match=r"Reshape.*input 1 \('in1'\) must be a constant"):
        to_torch(model)


def test_operator_newer_than_the_opset_is_unsupported():
    nodes = [helper.make_node("Gelu", ["x"], ["y"], name="g")]
    model = graph(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])], opset=13)
    with pytest.raises(UnsupportedOperatorError, match=r"Gelu \(node 'g'\): not an operator of opset 13"):
        to_torch(model)


def test_ai_onnx_is_the_default_domain():
    nodes = [
        helper.make_node("Neg", ["w"], ["v"], domain="ai.onnx"),
        helper.make_node("Add", ["x", "v"], ["y"], domain="ai.onnx"),
    ]
    model = graph(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])], [("w", np.float32([1, 2]))])
    model.opset_import[0].domain = "ai.onnx"
    np.testing.assert_array_equal(run_torch(model, [np.float32([5, 5])])[0], [4, 3])


def test_control_flow_is_unsupported():
    make = helper.make_tensor_value_info
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["z"])], "branch", [], [make("z", FLOAT, [2])])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=branch)
    weights = [("c", np.array(True))]
    model = graph([node], [("x", FLOAT, [2])], [("y", FLOAT, [2])], weights)
    with pytest.raises(UnsupportedOperatorError, match="If \\('choice'\\)"):
        to_torch(model)


@pytest.mark.parametrize("shape", [["N", 3, 4, 4], [None, 3, 4, 4], None], ids=["named", "unnamed", "no rank"])
def test_dynamic_dimension_raises(shape):
    model = graph([helper.make_node("Relu", ["x"], ["y"])], [("x", FLOAT, shape)], [("y", FLOAT, shape)])
    with pytest.raises(DynamicShapeError, match=r"input 'x'.*--input-size"):
        to_torch(model)


@pytest.mark.parametrize("code", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.UINT16])
def test_unsupported_element_type_raises(code):
    model = graph([helper.make_node("Identity", ["x"], ["y"])], [("x", code, [2])], [("y", code, [2])])
    with pytest.raises(UnsupportedOperatorError, match="input 'x' has an unsupported element type; supported: float32"):
        to_torch(model)


def test_sparse_weights_are_unsupported():
    model = one_node("Relu", [image(2)], opset=13)
    values = numpy_helper.from_array(np.float32([1]), "sparse_w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.int64([0])), [2])
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(UnsupportedOperatorError, match="initialiser 'sparse_w' is sparse"):
        to_torch(model)


def test_tensor_without_producer_is_a_damaged_file():
    nodes = [helper.make_node("Add", ["x", "ghost"], ["y"], name="add_1")]
    model = graph(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])])
    with pytest.raises(ModelFileError, match=r"Add \(node 'add_1'\) reads 'ghost'"):
        to_torch(model)
    model.graph.node[0].input[1] = "x"
    model.graph.output[0].name = "phantom"
    with pytest.raises(ModelFileError, match="outputs reads 'phantom'"):
        to_torch(model)


def test_incompatible_shapes_name_the_node():
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"], name="product")]
    model = graph(nodes, [("x", FLOAT, [2, 3])], [("y", FLOAT, None)])
    with pytest.raises(ExportError, match=r"MatMul \(node 'product'\) does not accept inputs of shapes \[\(2, 3\)"):
        to_torch(model)


def test_failed_folding_names_the_node():
    nodes = [helper.make_node("Reshape", ["w", "s"], ["y"], name="shrink")]
    model = graph(nodes, [], [("y", FLOAT, None)], [("w", image(6)), ("s", np.array([4]))])
    with pytest.raises(ExportError, match=r"Reshape \(node 'shrink'\) has only constant inputs"):
        to_torch(model)


def test_table_has_existing_operators_and_versions():
    assert sum(len(rows) for rows in FAMILIES.values()) == len(TABLE)
    known = {(s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    for row in TABLE.values():
        assert {(row.name, version) for version in row.versions} <= known


def test_table_has_every_version_from_opset_7_to_21():
    for row in TABLE.values():
        for opset in range(7, 22):
            try:
                version = onnx.defs.get_schema(row.name, opset, "").since_version
            except onnx.defs.SchemaError:
                continue
            # Upsample is in the standard up to opset 9; what 10 holds is its removal.
            assert version in row.versions or (row.name, version) == ("Upsample", 10)
