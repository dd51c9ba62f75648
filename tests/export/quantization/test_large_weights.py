"""Weights of more than 32 MiB, against rounding by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_quantizer import qtyping
from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor

from edge_vseg.export.quantization.large_weights import PART_BYTES, large_weights_in_parts


@pytest.mark.parametrize("axis", [0, 3], ids=["convolution", "depthwise"])
def test_weights_that_are_quantized_in_parts(axis: int) -> None:
    weights = np.random.default_rng(0).normal(0, 1, (36, 4, 4, 2**14)).astype(np.float32)
    assert weights.nbytes > PART_BYTES
    others = tuple(number for number in range(4) if number != axis)
    scale = np.abs(weights).max(others, keepdims=True) / 127
    params = qtyping.UniformQuantParams(
        num_bits=8, quantized_dimension=axis, scale=scale, zero_point=np.zeros(scale.shape, np.int32)
    )
    before = uniform_quantize_tensor.uniform_quantize
    with large_weights_in_parts():
        made = uniform_quantize_tensor.uniform_quantize(weights, params)
    assert uniform_quantize_tensor.uniform_quantize is before
    assert made.dtype == np.int8
    np.testing.assert_array_equal(made, np.clip(np.round(weights / scale), -127, 127))
