"""What OpenVINO's slices hand over to each other, on a model made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.openvino_slices import cut_openvino
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


def run_chain(models: Sequence[ov.Model]) -> np.ndarray:
    """The last output; a KeyError if a slice reads what none before it gives."""
    values = {"image": IMAGE}
    for model in models:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        outputs = compiled({port.any_name: values[port.any_name] for port in model.inputs})
        values |= {port.any_name: np.array(outputs[number]) for number, port in enumerate(model.outputs)}
    return values["out"]


@pytest.mark.parametrize("inputs", [("r", "p"), ("p", "r")], ids="-".join)
def test_a_tensor_has_one_name_in_all_slices_whatever_else_is_cut(inputs: tuple[str, ...]) -> None:
    model = attention()
    parts = [Part(inputs=("image",), outputs=("p", "r")), Part(inputs=inputs, outputs=("out",))]
    slices = cut_openvino(model, parts)
    assert {port.any_name for port in slices[0].outputs} == {port.any_name for port in slices[1].inputs}
    np.testing.assert_allclose(run_chain(slices), run_chain([model]), rtol=1e-6)
