"""Windows, resizes, cuts and pads of any geometry, against ONNX Runtime and numpy."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_graphs import assert_same, model_of, one_node, run_torch

from edge_vseg.export.onnx_to_torch.table import TABLE

MIN_SAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@st.composite
def windows(draw: st.DrawFn, *, dilated: bool = True) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": draw(PAIR)}
    attributes["dilations"] = draw(PAIR) if dilated else (1, 1)
    if draw(st.booleans()):
        # Padding as large as the kernel would leave windows of nothing but padding.
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    else:
        attributes["auto_pad"] = draw(st.sampled_from(["VALID", "SAME_UPPER", "SAME_LOWER"]))
        # ONNX Runtime refuses SAME where windows leave gaps, and dilated windows with it.
        gaps = any(s > k for s, k in zip(attributes["strides"], kernel, strict=True))
        assume(attributes["auto_pad"] == "VALID" or not (gaps or attributes["dilations"] != (1, 1)))
    return attributes


@MIN_SAMPLES
@given(attributes=windows(), groups=st.sampled_from([1, 2]))
def test_conv(attributes, groups):
    x, weight = image(1, 4, 11, 10), image(6, 4 // groups, *attributes["kernel_shape"])
    bias = image(6)
    model = one_node("Conv", [x, weight, bias], opset=13, frozen=[1, 2], group=groups, **attributes)
    assert_same(model, [x], tolerance=1e-4)


@MIN_SAMPLES
@given(attributes=windows(), groups=st.sampled_from([1, 2]), extra=st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_conv_transpose(attributes, groups, extra):
    strides = attributes["strides"]
    attributes["output_padding"] = [min(e, s - 1) for e, s in zip(extra, strides, strict=True)]
    x, weight = image(1, 4, 5, 4), image(4, 6 // groups, *attributes["kernel_shape"])
    inputs = [x, weight, image(6)]
    model = one_node("ConvTranspose", inputs, opset=13, frozen=[1, 2], group=groups, **attributes)
    assert_same(model, [x], tolerance=1e-4)


@MIN_SAMPLES
@given(attributes=windows(), ceil=st.integers(0, 1))
def test_max_pool(attributes, ceil):
    x = image(1, 2, 13, 12) - 3
    assert_same(one_node("MaxPool", [x], opset=12, ceil_mode=ceil, **attributes), [x])


@MIN_SAMPLES
@given(attributes=windows(), ceil=st.integers(0, 1))
def test_max_pool_behind_relu(attributes, ceil):
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("MaxPool", ["positive"], ["y"], ceil_mode=ceil, **attributes),
    ]
    x = image(1, 2, 13, 12) - 1
    assert_same(model_of(nodes, {"x": x}, ["y"], opset=12), [x])


@MIN_SAMPLES
@given(attributes=windows(dilated=False), ceil=st.integers(0, 1), counted=st.integers(0, 1))
def test_average_pool(attributes, ceil, counted):
    del attributes["dilations"]
    x = image(1, 2, 13, 12)
    model = one_node("AveragePool", [x], opset=19, ceil_mode=ceil, count_include_pad=counted, **attributes)
    assert_same(model, [x])


@MIN_SAMPLES
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    new=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    mode=st.sampled_from(["linear", "nearest"]),
    transformation=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
)
def test_resize_to_a_size(size, new, mode, transformation, rounding):
    if mode == "nearest" and rounding.startswith("round"):
        # Halfway between two pixels the last bit of ONNX Runtime's float32 decides.
        assume(not any(_has_ties(n, m, transformation) for n, m in zip(size, new, strict=True)))
    x = image(1, 2, *size)
    inputs = [x, None, None, np.array([1, 2, *new])]
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": rounding}
    model = one_node("Resize", inputs, opset=19, frozen=TABLE["Resize"].constants, **attributes)
    assert_same(model, [x], tolerance=1e-4)


def _has_ties(size: int, new: int, transformation: str) -> bool:
    """Whether an output pixel reads exactly between two input pixels."""
    for index in range(new):
        match transformation:
            case "asymmetric":
                where = Fraction(index * size, new)
            case "align_corners":
                where = Fraction(index * (size - 1), max(new - 1, 1))
            case _:
                where = (index + Fraction(1, 2)) * Fraction(size, new) - Fraction(1, 2)
        if where % 1 == Fraction(1, 2):
            return True
    return False


@MIN_SAMPLES
@given(
    scales=st.tuples(st.sampled_from([0.5, 0.6, 1.0, 1.5, 2.0, 2.4]), st.sampled_from([0.5, 0.6, 1.0, 1.5, 2.0, 2.4])),
    mode=st.sampled_from(["linear", "nearest"]),
    transformation=st.sampled_from(["half_pixel", "asymmetric"]),
)
def test_resize_by_a_scale_that_need_not_fit(scales, mode, transformation):
    x = image(1, 2, 7, 10)
    inputs = [x, None, np.array([1, 1, *scales], np.float32)]
    attributes = {"mode": mode, "coordinate_transformation_mode": transformation, "nearest_mode": "floor"}
    model = one_node("Resize", inputs, opset=13, frozen=TABLE["Resize"].constants, **attributes)
    assert_same(model, [x], tolerance=1e-4)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("scale", [0.5, 1.3])
def test_corners_are_those_of_the_rounded_size(scale, mode):
    """Of 21 columns 10.5 are 10: the last one reads the last pixel, as in ONNX Runtime and torch."""
    x = image(1, 2, 15, 21)
    inputs = [x, None, np.array([1, 1, scale, scale], np.float32)]
    attributes = {"mode": mode, "coordinate_transformation_mode": "align_corners", "nearest_mode": "floor"}
    model = one_node("Resize", inputs, opset=13, frozen=TABLE["Resize"].constants, **attributes)
    assert_same(model, [x], tolerance=1e-4)
    corner = run_torch(model, [x])[0][..., -1, -1]
    np.testing.assert_allclose(corner, x[..., -1, -1], atol=1e-5)


@MIN_SAMPLES
@given(
    start=st.integers(-12, 12),
    end=st.integers(-12, 12),
    step=st.integers(-3, 3).filter(lambda step: step != 0),
)
def test_slice_like_numpy(start, end, step):
    x = image(2, 9)
    assume(x[:, _clamped(start, end, step, 9)].size)
    inputs = [x, np.array([start]), np.array([end]), np.array([1]), np.array([step])]
    model = one_node("Slice", inputs, opset=13, frozen=[1, 2, 3, 4])
    assert_same(model, [x])


def _clamped(start: int, end: int, step: int, size: int) -> slice:
    """The standard's slice as one of Python: an end before the first element is not the last one."""
    end = end + size if end < 0 else end
    return slice(start, None if step < 0 and end < 0 else max(end, 0), step)


@MIN_SAMPLES
@given(pads=st.lists(st.integers(0, 3), min_size=8, max_size=8), mode=st.sampled_from(["constant", "edge", "reflect"]))
def test_pad_like_numpy(pads, mode):
    x = image(2, 4, 5, 6)
    pads = [min(pad, 1) if mode == "reflect" and axis % 4 == 0 else pad for axis, pad in enumerate(pads)]
    model = one_node("Pad", [x, np.array(pads)], opset=13, frozen=[1], mode=mode)
    expected = np.pad(x, list(zip(pads[:4], pads[4:], strict=True)), mode=mode)
    np.testing.assert_array_equal(run_torch(model, [x])[0], expected)
