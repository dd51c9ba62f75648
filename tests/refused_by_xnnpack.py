"""A TFLite file that is sound, and that XNNPACK refuses as a whole."""

from __future__ import annotations

import numpy as np
import pytest


def depthwise_int8(output_scale: float, custom: str = "") -> bytes:
    """One int8 depthwise convolution 1x1 with ones; XNNPACK refuses an output scale far below the input's.

    Args:
        output_scale: Scale of the output.
        custom: Makes a custom operator of this name of it, which no TFLite has.
    """
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")

    def tensor_of(name: str, shape: list[int], scales: list[float], kind: int, buffer: int = 0) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = scales, [0] * len(scales)
        return made

    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph, operator, options = schema.SubGraphT(), schema.OperatorT(), schema.DepthwiseConv2DOptionsT()
    graph.tensors = [
        tensor_of("image", [1, 4, 4, 2], [0.5], int8),
        tensor_of("kernel", [1, 1, 1, 2], [1.0, 1.0], int8, 1),
        tensor_of("bias", [2], [0.5, 0.5], int32, 2),
        tensor_of("result", [1, 4, 4, 2], [output_scale], int8),
    ]
    graph.tensors[1].quantization.quantizedDimension = 3
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = options.depthMultiplier = 1
    operator.inputs, operator.outputs, operator.builtinOptions = [0, 1, 2], [3], options
    operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model, code = schema.ModelT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    code.version = 3
    if custom:
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = custom, 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    model.buffers[1].data, model.buffers[2].data = np.ones(2, np.uint8), np.zeros(8, np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
