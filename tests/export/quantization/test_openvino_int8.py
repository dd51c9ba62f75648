"""OpenVINO's int8 graph of a transposed convolution, which has a kernel for symmetric ranges only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from networks import SIZE_HW, Net, frames, staged

from edge_vseg.export.quantization.activations import class_agreement, run_frames
from edge_vseg.export.quantization.openvino_qdq import quantize_openvino, start_openvino
from edge_vseg.export.quantization.preparation import Int8Preparation


def decoder(activation: str) -> onnx.ModelProto:
    net = Net(seed=4)
    x = net.conv(net.node("Relu", net.conv("image", 3, 16, strides=[2, 2])), 16, 16)
    x = net.node(activation, x) if activation else x
    weight = net.const(net.rng.normal(0, 0.2, (16, 16, 2, 2)))
    x = net.node("Relu", net.node("ConvTranspose", x, weight, net.const(np.zeros(16)), strides=[2, 2]))
    return staged(net.model(net.conv(x, 16, 4), shape=(1, 3, *SIZE_HW)))


@pytest.mark.parametrize("activation", ["", "Relu"])
def test_a_transposed_convolution_is_right_and_in_int8(activation: str, tmp_path: Path) -> None:
    """The quantizer drops a Relu whose range begins at 0, so that range may not be widened below 0."""
    prepared = Int8Preparation(decoder(activation), frames(8), 0)
    model = quantize_openvino(prepared.weights(()), prepared.ranges, tmp_path)
    run = start_openvino(model)
    found = [run(frame) for frame in frames(8)]
    assert class_agreement(run_frames(prepared.model, frames(8)), found) > 0.95
    compiled = ov.Core().compile_model(model, "CPU").get_runtime_model().get_ordered_ops()
    kernels = {str(node.get_rt_info()["layerType"].astype(str)): node for node in compiled}
    assert str(kernels["Deconvolution"].get_rt_info()["outputPrecisions"].astype(str)) in ("u8", "i8")
