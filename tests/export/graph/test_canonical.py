"""One canonical form, same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from networks import SIZE_HW, Net, body, frame, frames, ops, run, segmenter_onnx, staged, tensor, upsample
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.errors import DynamicShapeError, HeadError, OptionError
from edge_vseg.export.graph.canonical import OPSET, canonicalize
from edge_vseg.export.quantization.onnxruntime_qdq import quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges


def enlarged(net: Net, x: str, opset: int, mode: str) -> str:
    """Twice the size, in the words of each opset."""
    factors = [1.0, 1.0, 2.0, 2.0]
    if opset < 9:
        return net.node("Upsample", x, mode=mode, scales=factors)
    if opset < 11:
        return net.node("Upsample" if opset == 9 else "Resize", x, net.const(factors), mode=mode)
    return net.node("Resize", x, net.const([]), net.const(factors), mode=mode)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("opset", range(7, 22))
def test_every_opset_keeps_its_numbers(opset, mode):
    net = Net(seed=opset)
    x = enlarged(net, body(net), opset, mode)
    model = net.model(net.conv(x, 4, 4), opset=opset)
    canonical, image = canonicalize(model, None)
    assert canonical.opset_import[0].version == OPSET
    assert image.layout == "NCHW"
    assert image.size_hw == SIZE_HW
    value = tensor(frame(1))
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [7, 9, 10])
def test_old_resizing_is_asymmetric(opset):
    """What the converter leaves out: half-pixel sampling would give other numbers."""
    net = Net()
    model = net.model(enlarged(net, "image", opset, "linear"), opset=opset)
    canonical, _ = canonicalize(model, None)
    ramp = np.broadcast_to(np.arange(SIZE_HW[1], dtype=np.float32), (1, 3, *SIZE_HW))
    row = run(canonical, np.ascontiguousarray(ramp))[0, 0, 0]
    np.testing.assert_allclose(row[:6], [0, 0.5, 1, 1.5, 2, 2.5])


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("where", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
def test_newer_resizing_keeps_its_sampling(opset, where):
    net = Net()
    x = net.node(
        "Resize", body(net), net.const([]), net.const([1, 1, 2, 2]), mode="linear", coordinate_transformation_mode=where
    )
    model = net.model(x, opset=opset)
    value = tensor(frame(2))
    np.testing.assert_allclose(run(canonicalize(model, None)[0], value), run(model, value), rtol=1e-4, atol=1e-4)


def test_nhwc():
    net = Net()
    model = net.model(body(net, image=net.node("Transpose", "image", perm=[0, 3, 1, 2])), shape=(1, *SIZE_HW, 3))
    canonical, image = canonicalize(model, None)
    assert image.layout == "NHWC"
    assert image.size_hw == SIZE_HW
    value = tensor(frame(3)).transpose(0, 2, 3, 1).copy()
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


def dynamic_network(shape=("batch", 3, "height", "width")) -> onnx.ModelProto:
    """Upsamples to the size of its own input, found out at run time."""
    net = Net()
    x = body(net)
    spatial = net.node("Slice", net.node("Shape", "image"), net.const([2], np.int64), net.const([4], np.int64))
    channels = net.node("Slice", net.node("Shape", x), net.const([0], np.int64), net.const([2], np.int64))
    sizes = net.node("Concat", channels, spatial, axis=0)
    return net.model(net.node("Resize", x, "", "", sizes, mode="linear"), shape=shape)


@pytest.mark.parametrize("size_hw", [(24, 32), (40, 56)], ids=str)
def test_symbolic_shapes_become_static(size_hw):
    model = dynamic_network()
    canonical, image = canonicalize(model, size_hw)
    assert image.size_hw == size_hw
    dims = [d.dim_value for d in canonical.graph.output[0].type.tensor_type.shape.dim]
    assert dims == [1, 4, *size_hw]
    assert "Shape" not in ops(canonical)
    value = tensor(frame(4, size_hw))
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


def test_a_static_network_can_take_another_size():
    net = Net()
    model = net.model(upsample(net, body(net), 2))
    canonical, _ = canonicalize(model, (16, 48))
    assert run(canonical, tensor(frame(0, (16, 48)))).shape == (1, 4, 16, 48)


def test_only_the_batch_is_open():
    canonical, image = canonicalize(dynamic_network(("N", 3, *SIZE_HW)), None)
    assert image.size_hw == SIZE_HW
    assert canonical.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_symbolic_shapes_need_a_size():
    with pytest.raises(OptionError, match="--input-size HxW"):
        canonicalize(dynamic_network(), None)


@pytest.mark.parametrize("size_hw", [(0, 32), (24, -1)], ids=str)
def test_impossible_size(size_hw):
    with pytest.raises(OptionError, match="must be positive"):
        canonicalize(dynamic_network(), size_hw)


def test_dynamic_rank():
    net = Net()
    with pytest.raises(DynamicShapeError, match="no rank"):
        canonicalize(net.model(net.node("Relu", "image"), shape=None), (24, 32))


def test_shape_that_depends_on_values():
    net = Net()
    found = net.node("Cast", net.node("NonZero", body(net)), to=TensorProto.FLOAT)
    with pytest.raises(DynamicShapeError):
        canonicalize(net.model(found), None)


def test_elements_picked_by_a_mask():
    """What torch's exporter makes of ``x[mask] = -x[mask]``."""
    net = Net()
    x = body(net)
    mask = net.node("Greater", x, net.const(0.0))
    where = net.node("Transpose", net.node("NonZero", mask), perm=[1, 0])
    picked = net.node("Neg", net.node("GatherND", x, where))
    model = net.model(net.node("ScatterND", x, where, picked))
    next(n for n in model.graph.node if n.op_type == "NonZero").metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'network', 'network.refine', 'nonzero']"
    )
    with pytest.raises(DynamicShapeError, match=r"NonZero .* of layer 'refine'.*torch\.where"):
        canonicalize(model, None)


def test_size_that_does_not_fit_a_fixed_reshape():
    net = Net()
    flat = net.node("Reshape", body(net), net.const([1, 4, 12 * 16], np.int64))
    model = net.model(net.node("Reshape", flat, net.const([1, 4, 12, 16], np.int64)))
    assert canonicalize(model, SIZE_HW)
    with pytest.raises(DynamicShapeError, match="does not work at 40x40.*trained at"):
        canonicalize(model, (40, 40))


def test_two_inputs():
    net = Net()
    model = net.model(net.node("Add", body(net), "more"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", TensorProto.FLOAT, (1, 4, 12, 16)))
    with pytest.raises(HeadError, match="expected one image input, the model has 2"):
        canonicalize(model, None)


@pytest.mark.parametrize("shape", [(1, 10), (1, 1, 24, 32), (1, 4, 24, 32), (1, 3, 24)], ids=str)
def test_not_an_image(shape):
    net = Net()
    with pytest.raises(HeadError, match="expected"):
        canonicalize(net.model(net.node("Relu", "image"), shape=shape), None)


def test_notes_of_other_tools_are_removed():
    """A network that went through ONNX Runtime's preprocessing says that its shapes are known, which ends int8."""
    model = segmenter_onnx()
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    canonical, _ = canonicalize(model, None)
    assert not canonical.metadata_props
    graph = staged(model)
    made = quantize_onnxruntime(graph, measure_ranges(graph, frames(2)), recipe_for("x86_64"))
    assert "QuantizeLinear" in ops(made)


@pytest.mark.parametrize("written", ["halved product", "half first", "divided", "multiplied"])
@pytest.mark.parametrize("opset", [11, 17, 20])
def test_gelu_becomes_one_operator(written, opset):
    """Written out, every part of it would be rounded by itself."""
    net = Net(seed=3)
    x = body(net)
    scaled = ("Mul", np.sqrt(0.5)) if written == "multiplied" else ("Div", np.sqrt(2))
    erf = net.node("Erf", net.node(scaled[0], x, net.const(np.float32(scaled[1]))))
    more, half = net.node("Add", erf, net.const(np.float32(1))), net.const(np.float32(0.5))
    if written == "half first":
        gelu = net.node("Mul", net.node("Mul", x, half), more)
    else:
        gelu = net.node("Mul", net.node("Mul", x, more), half)
    model = net.model(net.conv(gelu, 4, 4), opset=opset)
    canonical, _ = canonicalize(model, None)
    assert "Gelu" in ops(canonical)
    assert not {"Erf", "Div", "Mul", "Add"} & set(ops(canonical))
    value = tensor(frame(1))
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("square", ["Pow", "Mul"])
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_layer_normalization_becomes_one_operator(square, opset):
    net = Net(seed=3)
    x = net.node("Transpose", body(net), perm=[0, 2, 3, 1])
    centered = net.node("Sub", x, net.node("ReduceMean", x, axes=[-1], keepdims=1))
    other = centered if square == "Mul" else net.const(np.float32(2))
    variance = net.node("ReduceMean", net.node(square, centered, other), axes=[-1], keepdims=1)
    root = net.node("Sqrt", net.node("Add", variance, net.const(np.float32(0.01))))
    x = net.node("Mul", net.node("Div", centered, root), net.const([1, 2, 3, 4]))
    x = net.node("Add", x, net.const([0.1, 0.2, 0.3, 0.4]))
    model = net.model(net.conv(net.node("Transpose", x, perm=[0, 3, 1, 2]), 4, 4), opset=opset)
    canonical, _ = canonicalize(model, None)
    assert "LayerNormalization" in ops(canonical)
    assert not {"ReduceMean", "Sqrt", "Div", "Mul", "Add"} & set(ops(canonical))
    value = tensor(frame(1))
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


def test_the_model_given_is_not_changed():
    model = dynamic_network()
    before = model.SerializeToString()
    canonicalize(model, SIZE_HW)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("least", [10, 1000], ids=["then", "else"])
@pytest.mark.parametrize("last", [False, True], ids=["inside", "last"])
def test_branch_that_asks_for_shapes(least, last):
    """What scripted code has for ``x * 2 if x.shape[2] > least else -x``."""
    net = Net()
    x = net.conv("image", 3, 4)
    height = net.node("Gather", net.node("Shape", x), net.const(2, np.int64))
    branches = [
        helper.make_graph(
            [node], "branch", [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)]
        )
        for node in (
            helper.make_node("Add", [x, x], ["doubled"]),
            helper.make_node("Neg", [x], ["negative"]),
        )
    ]
    condition = net.node("Greater", height, net.const(least, np.int64))
    y = net.node("If", condition, then_branch=branches[0], else_branch=branches[1])
    model = net.model(y if last else net.conv(y, 4, 4), shape=(1, 3, "H", "W"))
    canonical, _ = canonicalize(model, SIZE_HW)
    assert "If" not in ops(canonical)
    value = tensor(frame())
    np.testing.assert_allclose(run(canonical, value), run(model, value), atol=1e-4)


@pytest.mark.parametrize("skip", [False, True], ids=["plain", "with a skip that fits only where it is taken"])
def test_two_branches_with_the_same_names(skip):
    """Names inside a branch are its own, and the second branch reads what the first one gives."""
    net = Net()
    x = net.conv("image", 3, 4)
    height = net.node("Gather", net.node("Shape", x), net.const(2, np.int64))
    for least, factor in ((10, 2.0), (12, 5.0)):
        info = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        inner = [helper.make_node("Mul", [x, "k"], ["scaled"]), helper.make_node("Relu", ["scaled"], ["y"])]
        if skip:
            inner = [helper.make_node("MaxPool", [x], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
                     helper.make_node("Resize", ["small", "", "twice"], ["same"], mode="nearest"),
                     helper.make_node("Mul", ["same", "k"], ["scaled"]),
                     helper.make_node("Add", [x, "scaled"], ["y"])]  # fmt: skip
        constants = [numpy_helper.from_array(np.float32(factor), "k"),
                     numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]  # fmt: skip
        taken = helper.make_graph(inner, "taken", [], [info], constants if skip else constants[:1])
        other = helper.make_graph([helper.make_node("Neg", [x], ["y"])], "other", [], [info])
        x = net.node(
            "If", net.node("Greater", height, net.const(least, np.int64)), then_branch=taken, else_branch=other
        )
    model = net.model(net.conv(x, 4, 4), shape=(1, 3, "H", "W"))
    canonical, _ = canonicalize(model, SIZE_HW)
    assert "If" not in ops(canonical)
    value = tensor(frame())
    np.testing.assert_allclose(run(canonical, value), run(model, value), rtol=1e-4, atol=1e-4)


def test_branch_that_depends_on_values_stays():
    net = Net()
    x = net.conv("image", 3, 4)
    node = helper.make_node("Neg", [x], ["negative"])
    info = helper.make_tensor_value_info("negative", TensorProto.FLOAT, [1, 4, *SIZE_HW])
    branch = helper.make_graph([node], "branch", [], [info])
    condition = net.node("Greater", net.node("ReduceMean", x, keepdims=0), net.const(0.0))
    model = net.model(net.node("If", condition, then_branch=branch, else_branch=branch))
    assert "If" in ops(canonicalize(model, None)[0])


@pytest.mark.parametrize(
    "scales", [(2 / 3, 0.4), (0.4, 2), (2.5, 0.75)], ids=["shrinks", "shrinks and enlarges", "enlarges and shrinks"]
)
def test_old_resizing_to_the_nearest_rounds_up_where_it_shrinks(scales):
    """Opset 10 leaves it open; ONNX Runtime, which runs the network as it came, decides."""
    net = Net()
    x = net.node("Resize", "image", net.const([1, 1, *scales]), mode="nearest")
    model = net.model(net.conv(x, 3, 4), opset=10)
    value = tensor(frame(1))
    np.testing.assert_allclose(run(canonicalize(model, None)[0], value), run(model, value), rtol=1e-4, atol=1e-4)
