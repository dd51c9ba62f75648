"""Gates and means run in integers, and give what they gave."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import Net, frames, fused, staged

from edge_vseg.export.quantization.activations import run_frames
from edge_vseg.export.quantization.onnxruntime_qdq import insert_qdq, quantize_onnxruntime, recipe_for
from edge_vseg.export.quantization.preparation import measure_ranges

IMAGES = frames(6)


def gated(kind: str) -> onnx.ModelProto:
    """A convolution, a gate, and a channel attention with a mean over the plane."""
    net = Net(seed=2)
    x = net.conv("image", 3, 8)
    if kind == "HardSwish":
        x = net.node("HardSwish", x)
    elif kind == "its parts":
        x = net.node("Mul", x, net.node("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    elif kind == "another slope":
        x = net.node("Mul", net.conv(x, 8, 8, 1), net.node("HardSigmoid", x, alpha=0.3, beta=0.4))
    x = net.conv(x, 8, 8)
    mean = net.node("ReduceMean", x, net.const([2, 3], np.int64), keepdims=1)
    x = net.node("Mul", x, net.node("HardSigmoid", net.conv(mean, 8, 8, 1), alpha=1 / 6, beta=0.5))
    return staged(net.model(net.conv(x, 8, 4)))


def kernels(model: onnx.ModelProto, path: str) -> set[str]:
    """Operators of the graph that ONNX Runtime makes of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = path
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("kind", ["HardSwish", "its parts", "another slope"])
@pytest.mark.parametrize("target", ["x86_64", "arm64"])
def test_gates_run_in_integers_and_agree_as_before(kind: str, target: str, tmp_path) -> None:
    model, recipe = gated(kind), recipe_for(target)
    ranges, truth = measure_ranges(model, IMAGES), run_frames(model, IMAGES)

    def noise(graph: onnx.ModelProto) -> float:
        return float(np.mean([np.square(a - b).mean() for a, b in zip(truth, run_frames(graph, IMAGES), strict=True)]))

    before, after = insert_qdq(model, ranges, recipe), quantize_onnxruntime(model, ranges, recipe)
    assert noise(after) < 1.3 * noise(before)
    if target == "arm64":
        return  # signed kernels are chosen on arm64 alone
    left = kernels(after, str(tmp_path / "after.onnx"))
    assert {"QLinearMul", "QLinearAdd"} <= left
    assert not left & {"HardSigmoid", "HardSwish", "ReduceMean", "Mul"}
    assert kernels(before, str(tmp_path / "before.onnx")) & {"HardSigmoid", "HardSwish", "Mul"}


def test_what_stays_in_float_stays_as_it_is() -> None:
    model = gated("its parts")
    gates = tuple(node.name for node in model.graph.node if node.op_type in ("HardSigmoid", "ReduceMean"))
    made = quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("arm64"), float_nodes=gates)
    assert [node.op_type for node in made.graph.node if node.name in gates] == [
        node.op_type for node in model.graph.node if node.name in gates
    ]


def test_a_symmetric_target_keeps_its_gates() -> None:
    """Its ranges do not end at 0, where a gate has to be clipped."""
    model = gated("its parts")
    made = quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("jetson"))
    assert "HardSigmoid" in {node.op_type for node in made.graph.node}


def test_the_float_graph_is_not_changed() -> None:
    model = gated("HardSwish")
    before = model.SerializeToString()
    quantize_onnxruntime(model, measure_ranges(model, IMAGES), recipe_for("x86_64"))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("pool", ["ReduceMean", "GlobalAveragePool"])
def test_a_mean_that_is_zero_but_for_rounding(pool: str) -> None:
    """As attention after an instance norm has it; ONNX Runtime ended with an error in its kernel."""
    net = Net(seed=2)
    x = net.node("InstanceNormalization", net.conv("image", 3, 8), net.const([1.0] * 8), net.const([0.0] * 8))
    x = net.node("Mul", x, net.const(net.rng.uniform(0.5, 2, (1, 8, 1, 1))))
    axes = [net.const([2, 3], np.int64)] if pool == "ReduceMean" else []
    mean = net.node(pool, x, *axes, **({"keepdims": 1} if axes else {}))
    model = staged(net.model(net.conv(net.node("Add", x, net.conv(mean, 8, 8, 1)), 8, 4)))
    ranges = measure_ranges(model, IMAGES)
    assert 0 < ranges[mean][1] - ranges[mean][0] < 1e-4
    recipe, truth = recipe_for("x86_64-avx2"), run_frames(model, IMAGES)  # 7 bits: no CPU's sums saturate

    def noise(float_nodes: list[str]) -> float:
        graph = quantize_onnxruntime(model, ranges, recipe, float_nodes=float_nodes)
        return float(
            np.mean([np.square(a - fused(graph, image)).mean() for a, image in zip(truth, IMAGES, strict=True)])
        )

    assert noise([]) < 1.3 * noise([f"n_{mean}"])
