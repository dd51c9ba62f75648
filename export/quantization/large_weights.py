"""Let ai-edge-quantizer take convolutions whose weights are larger than 32 MiB.

It (0.10) quantizes such a tensor in parts, as a matrix, with scales that have the rank of the tensor. For the 3x3
convolutions over 2048 channels that FCN and DeepLab have behind a ResNet-50, that ends in "input operand has more
dimensions than allowed by the axis remapping".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor
from numpy.typing import NDArray

PART_BYTES = 32 * 1024 * 1024
"""Largest tensor that is quantized at once there."""


@contextmanager
def large_weights_in_parts() -> Iterator[None]:
    """Quantize large tensors of more than two axes in parts along the first, as long as the block lasts."""
    original = uniform_quantize_tensor.uniform_quantize

    def in_parts(tensor_data: NDArray[Any], quantization_params: Any, is_blockwise_quant: bool = False) -> NDArray[Any]:
        if tensor_data.ndim <= 2 or tensor_data.nbytes <= PART_BYTES or is_blockwise_quant:
            return np.asarray(original(tensor_data, quantization_params, is_blockwise_quant))
        rows = max(1, PART_BYTES // tensor_data[:1].nbytes)
        parts = [slice(begin, begin + rows) for begin in range(0, len(tensor_data), rows)]
        return np.concatenate([original(tensor_data[part], _of(quantization_params, part)) for part in parts])

    uniform_quantize_tensor.uniform_quantize = in_parts
    try:
        yield
    finally:
        uniform_quantize_tensor.uniform_quantize = original


def _of(params: Any, part: slice) -> Any:
    """Scales and zero points of a part; the same where they do not run along the first axis."""
    if params.quantized_dimension != 0:
        return params
    return dataclasses.replace(params, scale=params.scale[part], zero_point=params.zero_point[part])
