"""Warping against torch's sampler and against what interpolation must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.errors import FrameError
from edge_vseg.motion.warp import inside, warp_scores, warp_tensor
from edge_vseg.scheduling.fusion import MAX_UNEXPLAINED, fresh_weights, fuse
from edge_vseg.types import softmax


def smooth_motion(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / 10
    return np.stack((1.7 * np.sin(y + seed), 1.3 * np.cos(x + seed)), -1).astype(np.float32)


def sampled(planes: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """torch's own backward warping."""
    height, width = motion.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    grid = np.stack(((x + motion[..., 0] + 0.5) * 2 / width - 1, (y + motion[..., 1] + 0.5) * 2 / height - 1), -1)
    value = torch.nn.functional.grid_sample(
        torch.from_numpy(planes[None].astype(np.float64)),
        torch.from_numpy(grid[None]),
        padding_mode="border",
        align_corners=False,
    )
    return value[0].numpy()


@pytest.mark.parametrize("channels", [1, 3, 11, 64])
def test_scores_are_warped_as_torch_does(channels: int) -> None:
    scores = np.random.default_rng(0).normal(size=(channels, 30, 40)).astype(np.float32)
    motion = smooth_motion(30, 40)
    # OpenCV rounds places to a 32nd of a cell.
    np.testing.assert_allclose(warp_scores(scores, motion), sampled(scores, motion), atol=0.2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
def test_tensors_are_warped_in_their_own_layout_and_dtype(layout: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    planes = (rng.integers(0, 200, (48, 15, 20)) - (100 if dtype == np.int8 else 0)).astype(dtype)
    motion = smooth_motion(15, 20)
    tensor = planes[None] if layout == "NCHW" else np.ascontiguousarray(np.moveaxis(planes, 0, -1))[None]
    warped = warp_tensor(tensor, layout, motion)
    assert (warped.shape, warped.dtype) == (tensor.shape, tensor.dtype)
    assert warped.flags.c_contiguous
    back = warped[0] if layout == "NCHW" else np.moveaxis(warped[0], -1, 0)
    assert np.abs(back.astype(np.float64) - sampled(planes, motion)).max() < 8


def test_the_motion_of_a_finer_field_is_scaled() -> None:
    scores = np.zeros((1, 10, 10), np.float32)
    scores[0, 4, 6] = 1
    motion = np.full((40, 40, 2), (8.0, 0.0), np.float32)  # two cells of a tenth of the width
    assert warp_scores(scores, motion)[0, 4, 4] == 1


def test_many_channels_and_float16_are_warped() -> None:
    rng, motion = np.random.default_rng(1), smooth_motion(6, 8)
    many = rng.normal(size=(1, 6, 8, 1100)).astype(np.float32)
    np.testing.assert_array_equal(
        warp_tensor(many, "NHWC", motion)[..., 700:710],
        warp_tensor(np.ascontiguousarray(many[..., 700:710]), "NHWC", motion),
    )
    halves = warp_tensor(many.astype(np.float16), "NHWC", motion)
    assert halves.dtype == np.float16
    np.testing.assert_allclose(halves, warp_tensor(many, "NHWC", motion), atol=0.01)


def test_a_tensor_without_height_and_width_is_refused() -> None:
    with pytest.raises(FrameError, match="any"):
        warp_tensor(np.zeros((1, 7)), "any", smooth_motion(4, 4))


def test_inside() -> None:
    motion = np.zeros((4, 6, 2), np.float32)
    motion[:, :2, 0] = -3
    seen = inside(motion)
    assert not seen[:, :2].any()
    assert seen[:, 2:].all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_fused_probabilities_are_probabilities(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = (softmax(rng.normal(0, 9, (5, 6, 7)).astype(np.float32)) for _ in range(2))
    fused = first.copy()
    fuse(fused, second, share)
    np.testing.assert_allclose(fused.sum(0), 1, atol=1e-5)
    low, high = np.minimum(first, second), np.maximum(first, second)
    assert ((fused >= low - 1e-6) & (fused <= high + 1e-6)).all()


def test_probabilities_are_the_softmax() -> None:
    scores = np.random.default_rng(0).normal(0, 20, (11, 4, 5)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(scores), 0).numpy()
    np.testing.assert_allclose(softmax(scores), expected, atol=1e-6)


def test_fresh_weight_grows_with_the_photometric_error() -> None:
    unexplained = np.array([[0.0, 0.05], [MAX_UNEXPLAINED, 0.7]], np.float32)
    weights = fresh_weights(unexplained, (2, 2), 0.6)
    np.testing.assert_allclose(weights, [[0.6, 0.8], [1, 1]], atol=1e-6)
    fresh, carried = np.ones((3, 2, 2), np.float32), np.zeros((3, 2, 2), np.float32)
    fuse(fresh, carried, weights)
    np.testing.assert_allclose(fresh, np.broadcast_to(weights, (3, 2, 2)))
