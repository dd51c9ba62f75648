"""From raw outputs to label maps, against the formulas of ONNX Resize in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_bilinear import ALIGNS, assert_argmax, upsample

from edge_vseg.bundle.manifest import HeadSpec, Quantization, TensorSpec
from edge_vseg.errors import FrameError
from edge_vseg.imaging.label_maps import LabelMapper, read_label_map, read_logits, resize_labels

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("align", ALIGNS)
@given(classes=st.integers(2, 6), low=sizes, size_hw=sizes, seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_equals_argmax_of_upsampled_scores(
    align: str, classes: int, low: tuple[int, int], size_hw: tuple[int, int], seed: int
) -> None:
    scores = normal(classes, *low, seed=seed)
    labels = LabelMapper(size_hw, align)(scores)
    assert labels.shape == size_hw
    assert labels.dtype == np.uint8
    assert_argmax(labels, upsample(scores, size_hw, align))


@pytest.mark.parametrize("align", ALIGNS)
@pytest.mark.parametrize("classes", [2, 19, 255])
def test_road_size(align: str, classes: int) -> None:
    scores = normal(classes, 23, 40, seed=classes)
    mapper = LabelMapper((90, 157), align)
    expected = upsample(scores, (90, 157), align)
    labels = mapper(scores)
    assert_argmax(labels, expected)
    assert (labels == expected.argmax(axis=0)).mean() > 0.9999
    np.testing.assert_array_equal(mapper(scores), labels, err_msg="a second call must not see the first one's buffers")


def test_the_aligns_differ() -> None:
    scores = normal(4, 6, 8)
    maps = [LabelMapper((30, 40), align)(scores) for align in (*ALIGNS, "nearest")]
    assert len({m.tobytes() for m in maps}) == 4


@pytest.mark.parametrize("align", [*ALIGNS, "nearest"])
def test_same_size_is_plain_argmax(align: str) -> None:
    scores = normal(7, 20, 30)
    before = scores.copy()
    np.testing.assert_array_equal(LabelMapper((20, 30), align)(scores), scores.argmax(axis=0))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("align", [*ALIGNS, "nearest"])
@pytest.mark.parametrize("size_hw", [(5, 6), (17, 31), (3, 3)])
def test_ties_go_to_the_lower_id(align: str, size_hw: tuple[int, int]) -> None:
    scores = np.repeat(normal(1, 5, 6), 4, axis=0)
    scores[0] -= 1  # classes 1, 2 and 3 are equal everywhere
    assert (LabelMapper(size_hw, align)(scores) == 1).all()


@pytest.mark.parametrize("align", [*ALIGNS, "nearest"])
def test_every_id_can_win(align: str) -> None:
    """255 classes, each of which has one pixel, in a shuffled order."""
    order = np.random.default_rng(3).permutation(255)
    scores = np.full((255, 15, 17), -1, np.float32)
    scores[order, np.arange(255) // 17, np.arange(255) % 17] = 1
    np.testing.assert_array_equal(LabelMapper((15, 17), align)(scores).reshape(-1), order)


def test_labels_are_the_callers_own() -> None:
    mapper = LabelMapper((8, 8))
    first = mapper(normal(3, 4, 4, seed=1))
    kept = first.copy()
    mapper(normal(3, 4, 4, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_mapper_takes_scores_of_another_size() -> None:
    for align in ALIGNS:
        mapper = LabelMapper((20, 30), align)
        for low in ((5, 6), (7, 9), (20, 30), (5, 6)):
            scores = normal(3, *low)
            assert_argmax(mapper(scores), upsample(scores, (20, 30), align))


def test_nearest_enlarges_by_pixel_centres() -> None:
    scores = normal(3, 2, 3)
    expected = scores.argmax(axis=0).repeat(4, axis=0).repeat(5, axis=1)
    np.testing.assert_array_equal(LabelMapper((8, 15), "nearest")(scores), expected)


@given(low=sizes, size_hw=sizes, seed=st.integers(0, 1000))
def test_resized_labels_come_from_the_pixel_under_the_centre(
    low: tuple[int, int], size_hw: tuple[int, int], seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, 255, low, np.uint8)
    resized = resize_labels(labels, size_hw)
    # In whole numbers: floor((2i + 1) s / 2t).
    rows, columns = ((2 * np.arange(t) + 1) * s // (2 * t) for s, t in zip(low, size_hw, strict=True))
    edges = [((2 * np.arange(t) + 1) * s % (2 * t)) == 0 for s, t in zip(low, size_hw, strict=True)]
    expected = labels[rows][:, columns]
    sure = ~(edges[0][:, None] | edges[1][None])  # on the very border of two pixels either will do
    np.testing.assert_array_equal(resized[sure], expected[sure])


def spec(shape: tuple[int, ...], layout: str, dtype: str = "float32", **more: object) -> TensorSpec:
    return TensorSpec(name="out", shape=shape, dtype=dtype, layout=layout, **more)


def head(kind: str, size_hw: tuple[int, int] = (4, 5), **more: object) -> HeadSpec:
    return HeadSpec(kind=kind, size_hw=size_hw, **more)


def test_scores_of_both_layouts() -> None:
    planes = normal(3, 4, 5)
    for raw, layout in ((planes[None], "NCHW"), (planes.transpose(1, 2, 0)[None], "NHWC")):
        scores = read_logits(raw, spec(raw.shape, layout), head("scores"))
        assert scores is not None
        np.testing.assert_array_equal(scores, planes)
        assert scores.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantized_scores(dtype: str) -> None:
    info = np.iinfo(dtype)
    stored = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 4, 5, 3), dtype)
    stored[0, 0, 0] = info.min, 0, info.max
    zero = -12 if dtype == "int8" else 130
    quantized = spec(stored.shape, "NHWC", dtype, quantization=Quantization(scale=0.25, zero_point=zero))
    scores = read_logits(stored, quantized, head("scores"))
    assert scores is not None
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, ((stored[0].astype(int) - zero) * 0.25).transpose(2, 0, 1))


def test_float16_scores() -> None:
    raw = normal(1, 3, 4, 5).astype(np.float16)
    scores = read_logits(raw, spec(raw.shape, "NCHW", "float16"), head("scores"))
    assert scores is not None
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, raw[0].astype(np.float32))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW", "flat"])
def test_foreground(layout: str) -> None:
    share = np.random.default_rng(1).random((4, 5), np.float32)
    shape = {"NCHW": (1, 1, 4, 5), "NHWC": (1, 4, 5, 1), "NHW": (1, 4, 5), "flat": (1, 20)}[layout]
    raw = share.reshape(shape)
    scores = read_logits(raw, spec(shape, layout), head("foreground", threshold=0.3))
    assert scores is not None
    assert scores.shape == (2, 4, 5)
    np.testing.assert_array_equal(LabelMapper((4, 5))(scores), share > np.float32(0.3))


def test_foreground_at_the_threshold_is_background() -> None:
    raw = np.full((1, 1, 4, 5), 0.5, np.float32)
    scores = read_logits(raw, spec(raw.shape, "NCHW"), head("foreground"))
    assert scores is not None
    assert (LabelMapper((16, 20))(scores) == 0).all()


def test_quantized_foreground() -> None:
    stored = np.array([[-128, -1, 0, 127]], np.int8).reshape(1, 2, 2, 1)
    quantized = spec(stored.shape, "NHWC", "int8", quantization=Quantization(scale=1 / 256, zero_point=-128))
    scores = read_logits(stored, quantized, head("foreground", (2, 2)))
    assert scores is not None
    np.testing.assert_array_equal(LabelMapper((2, 2))(scores), [[0, 0], [0, 1]])  # -1 is 127/256, 0 is 128/256


@pytest.mark.parametrize(
    ("layout", "shape"), [("NCHW", (1, 1, 4, 5)), ("NHWC", (1, 4, 5, 1)), ("NHW", (1, 4, 5)), ("flat", (1, 20))]
)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
def test_finished_label_map(layout: str, shape: tuple[int, ...], dtype: str) -> None:
    ids = np.arange(20).reshape(4, 5) * 13 % 255
    raw = ids.reshape(shape).astype(dtype)
    assert read_logits(raw, spec(shape, layout, dtype), head("labels")) is None
    labels = read_label_map(raw, spec(shape, layout, dtype), head("labels"))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, ids)


def test_flat_output_of_the_wrong_length() -> None:
    with pytest.raises(FrameError, match="expected an output of 4x5 values, got 21"):
        read_label_map(np.zeros((1, 21), np.int32), spec((1, 21), "flat", "int32"), head("labels"))
