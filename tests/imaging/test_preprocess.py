"""From frames to tensors, against numpy written down from the manifest's words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.bundle.manifest import FrameSpec, Quantization, TensorSpec
from edge_vseg.errors import FrameError
from edge_vseg.imaging.preprocess import Preprocessor, check_image, resize_image

MEAN, SCALE = (10.0, 127.5, 123.675), (2.0, 127.5, 58.395)


def image(height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def spec(dtype: str = "uint8", layout: str = "NHWC", size_hw: tuple[int, int] = (12, 16), **more: object) -> TensorSpec:
    shape = (1, *size_hw, 3) if layout == "NHWC" else (1, 3, *size_hw)
    return TensorSpec(name="frame", shape=shape, dtype=dtype, layout=layout, **more)


def prepare(tensor: TensorSpec, source: np.ndarray, *, graph: str = "bgr", frames: str = "bgr") -> np.ndarray:
    height, width, _ = tensor.hwc
    return Preprocessor(FrameSpec(size_hw=(height, width), color=graph), tensor, color=frames)(source)


def area_mean(source: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Mean over the box that each target pixel covers, fractions of source pixels included."""

    def cover(length: int, target: int) -> np.ndarray:
        edges = np.arange(target + 1) * length / target
        low, high = edges[:-1, None], edges[1:, None]
        pixels = np.arange(length)[None]
        overlap = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
        return overlap / overlap.sum(axis=1, keepdims=True)

    rows, columns = cover(source.shape[0], size_hw[0]), cover(source.shape[1], size_hw[1])
    return np.einsum("yi,ijc,xj->yxc", rows, source.astype(float), columns)


def test_matching_frames_are_not_copied() -> None:
    source = image()
    tensor = prepare(spec(), source)
    assert tensor.shape == (1, 12, 16, 3)
    assert np.shares_memory(tensor, source)


@pytest.mark.parametrize(("graph", "frames"), [("bgr", "bgr"), ("bgr", "rgb"), ("rgb", "bgr"), ("rgb", "rgb")])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_colour_order_and_layout(graph: str, frames: str, layout: str) -> None:
    source = image()
    tensor = prepare(spec(layout=layout), source, graph=graph, frames=frames)
    expected = source if graph == frames else source[:, :, ::-1]
    if layout == "NCHW":
        expected = expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(tensor, expected[None])
    assert tensor.flags.c_contiguous
    assert tensor.dtype == np.uint8


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_normalisation(dtype: str, layout: str) -> None:
    """Mean and scale are in the order that the graph takes, not that of the frames."""
    source = image()
    tensor = prepare(spec(dtype, layout, mean=MEAN, scale=SCALE), source, graph="rgb")
    expected = ((source[:, :, ::-1].astype(np.float64) - MEAN) / SCALE).astype(dtype)
    if layout == "NCHW":
        expected = expected.transpose(2, 0, 1)
    assert tensor.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(tensor, expected[None])


@pytest.mark.parametrize("zero_point", [-128, 0, 100])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantized_input(dtype: str, zero_point: int) -> None:
    source = image()
    zero = max(zero_point, 0) if dtype == "uint8" else zero_point
    tensor = prepare(
        spec(dtype, mean=MEAN, scale=SCALE, quantization=Quantization(scale=0.031, zero_point=zero)), source
    )
    limits = np.iinfo(dtype)
    expected = np.rint((source.astype(np.float64) - MEAN) / SCALE / 0.031) + zero
    np.testing.assert_array_equal(tensor[0], np.clip(expected, limits.min, limits.max).astype(dtype))
    assert tensor.dtype == np.dtype(dtype)


def test_plain_float_input() -> None:
    source = image()
    tensor = prepare(spec("float32"), source)
    np.testing.assert_array_equal(tensor[0], source.astype(np.float32))


@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 100),
)
def test_any_size(source: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    given_image = image(*source, seed=seed)
    tensor = prepare(spec(size_hw=target), given_image)
    assert tensor.shape == (1, *target, 3)
    if target[0] <= source[0] and target[1] <= source[1]:
        assert np.abs(tensor[0] - area_mean(given_image, target)).max() <= 1
    assert given_image.min() <= tensor.min()
    assert tensor.max() <= given_image.max()


def test_enlarging_interpolates_between_pixel_centres() -> None:
    source = np.zeros((1, 2, 3), np.uint8)
    source[0, 1] = 200
    # Centres of the new pixels lie at -0.25, 0.25, 0.75 and 1.25 of the old ones.
    np.testing.assert_array_equal(resize_image(source, (1, 4))[0, :, 0], [0, 50, 150, 200])


def test_flat_colour_survives_every_resize() -> None:
    source = np.full((37, 53, 3), (7, 99, 250), np.uint8)
    for size in ((12, 16), (100, 200), (10, 200), (37, 53)):
        assert (resize_image(source, size) == (7, 99, 250)).all()


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda a: a[:, :, ::-1], id="swapped"),
        pytest.param(lambda a: a[::-1], id="upside-down"),
        pytest.param(lambda a: a[:, ::2], id="every-second"),
        pytest.param(np.asfortranarray, id="fortran"),
    ],
)
@pytest.mark.parametrize("size_hw", [(12, 16), (5, 7), (40, 40)])
def test_views_and_strides(view: object, size_hw: tuple[int, int]) -> None:
    assert callable(view)
    looked = view(image())
    looked.flags.writeable = False
    whole = np.ascontiguousarray(looked)
    for layout in ("NHWC", "NCHW"):
        np.testing.assert_array_equal(
            prepare(spec(layout=layout, size_hw=size_hw), looked, graph="rgb"),
            prepare(spec(layout=layout, size_hw=size_hw), whole, graph="rgb"),
        )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (np.zeros((12, 16), np.uint8), r"\(12, 16\) uint8"),
        (np.zeros((12, 16, 1), np.uint8), r"\(12, 16, 1\) uint8"),
        (np.zeros((12, 16, 4), np.uint8), r"\(12, 16, 4\) uint8"),
        (np.zeros((1, 12, 16, 3), np.uint8), r"\(1, 12, 16, 3\) uint8"),
        (np.zeros((3, 12, 16), np.uint8), r"\(3, 12, 16\) uint8"),
        (np.zeros((0, 16, 3), np.uint8), r"\(0, 16, 3\) uint8"),
        (np.zeros((12, 16, 3), np.float32), r"\(12, 16, 3\) float32"),
        (np.zeros((12, 16, 3), np.int8), r"\(12, 16, 3\) int8"),
        (np.zeros((12, 16, 3), bool), r"\(12, 16, 3\) bool"),
        ([[[0, 0, 0]]], "list"),
        (None, "NoneType"),
        ("frame.png", "str"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_frames(wrong: object, named: str) -> None:
    with pytest.raises(FrameError, match=rf"expected a \(H, W, 3\) uint8 array, got {named}"):
        check_image(wrong)
    with pytest.raises(FrameError):
        prepare(spec(), wrong)
