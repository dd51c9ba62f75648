"""What OpenVINO's slices hand over to each other, on a model made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from networks import Net, frames, staged

from edge_vseg.export.partition.chain import Part, plan_chain
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.openvino_fusion import fused_model, openvino_rules
from edge_vseg.export.partition.openvino_slices import cut_openvino
from edge_vseg.export.quantization.openvino_qdq import quantize_openvino
from edge_vseg.export.quantization.preparation import measure_ranges
from edge_vseg.export.telemetry import no_telemetry

with no_telemetry():
    import openvino as ov
    import openvino.opset13 as op

SHAPE = (1, 4, 6, 8)
IMAGE = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def named(port: ov.Node, name: str) -> ov.Node:
    port.output(0).get_tensor().set_names({name})
    return port


def attention() -> ov.Model:
    """``p`` is read twice, as it is by a Reshape that gives ``r``, and rounded: as in a SegFormer."""
    image = op.parameter(list(SHAPE), np.uint8, name="image")
    named(image, "image")
    p = named(op.multiply(op.convert(image, "f32"), np.float32(0.01301)), "p")
    r = named(op.reshape(p, np.array([1, 4, 48, 1]), special_zero=False), "r")
    rounded = op.fake_quantize(p, np.float32(0), np.float32(3.4), np.float32(0), np.float32(3.4), 256)
    kept = op.reshape(op.relu(rounded), np.array([1, 4, 48, 1]), special_zero=False)
    out = named(op.add(op.multiply(r, np.float32(2)), kept), "out")
    return ov.Model([op.result(out)], [image], "attention")


def run_chain(models: Sequence[ov.Model], output: str = "out", **image: np.ndarray) -> np.ndarray:
    """The last output; a KeyError if a slice reads what none before it gives."""
    values = image or {"image": IMAGE}
    for model in models:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        outputs = compiled({port.any_name: values[port.any_name] for port in model.inputs})
        values |= {port.any_name: np.array(outputs[number]) for number, port in enumerate(model.outputs)}
    return values[output]


@pytest.mark.parametrize("inputs", [("r", "p"), ("p", "r")], ids="-".join)
def test_a_tensor_has_one_name_in_all_slices_whatever_else_is_cut(inputs: tuple[str, ...]) -> None:
    model = attention()
    parts = [Part(inputs=("image",), outputs=("p", "r")), Part(inputs=inputs, outputs=("out",))]
    slices = cut_openvino(model, parts)
    assert {port.any_name for port in slices[0].outputs} == {port.any_name for port in slices[1].inputs}
    np.testing.assert_allclose(run_chain(slices), run_chain([model]), rtol=1e-6)


SIZE_HW = (48, 64)


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataFlow, ov.Model]:
    """Blocks as a ResNet has them, and without an activation behind as a MobileNetV2 does, in int8."""
    net = Net(seed=3)
    x = stem = net.node("Relu", net.conv("image", 3, 16, strides=[2, 2]))
    for number in range(5):
        y = net.node("Relu", net.conv(x, 16, 16))
        x = net.node("Add", net.conv(y, 16, 16), x)
        x = net.node("Relu", x) if number % 2 == 0 else x
    x = net.node("Add", net.conv(x, 16, 16), stem)
    model = staged(net.model(net.conv(x, 16, 4), shape=(1, 3, *SIZE_HW)))
    images = frames(8, size_hw=SIZE_HW)
    scratch = tmp_path_factory.mktemp("residual")
    return DataFlow(model), quantize_openvino(model, measure_ranges(model, images), scratch)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 8, 12])
def test_int8_slices_round_where_the_whole_does(residual: tuple[DataFlow, ov.Model], count: int) -> None:
    flow, model = residual
    chain = plan_chain(flow, None, count, lambda parts: [1.0] * len(parts), openvino_rules(flow, fused_model(model)))
    assert chain is not None
    slices = cut_openvino(model, chain.parts)
    assert len(slices) >= min(count, 4)
    for image in frames(2, start=20, size_hw=SIZE_HW):
        whole, chained = (run_chain(models, flow.output, frame=image[None]) for models in ([model], slices))
        np.testing.assert_allclose(chained, whole, atol=1e-4)
