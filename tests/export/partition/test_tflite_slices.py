"""Cutting TFLite files that only run without XNNPACK."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from networks import Net
from refused_by_xnnpack import depthwise_int8

from edge_vseg.export.partition.chain import Part
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.partition.tflite_slices import cut_tflite


def test_a_file_that_xnnpack_refuses_is_cut():
    net = Net()
    flow = DataFlow(net.model(net.node("Relu", "image"), shape=(1, 2, 4, 4)))
    image = np.arange(-16, 16, dtype=np.int8).reshape(4, 4, 2)
    whole = Part(inputs=(flow.image,), outputs=(flow.output,))
    (made,) = cut_tflite(depthwise_int8(1e-6), [whole], flow.model, image)
    interpreter = Interpreter(
        model_content=made, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(found[0], np.clip(image.astype(int) * 500, -128, 127))
