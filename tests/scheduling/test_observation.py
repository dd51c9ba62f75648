"""Motion of images whose movement is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_vseg.scheduling.observation import MotionObserver


def moving(height: int, width: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 255, (height // 6, width // 6, 3), np.uint8), (2 * width, 2 * height))
    return wide[:height, :width], np.ascontiguousarray(wide[:height, step : step + width])


@pytest.mark.parametrize("size_hw", [(96, 96), (96, 160), (192, 256)])
def test_small_frames_are_shrunk_less(size_hw: tuple[int, int]) -> None:
    observer = MotionObserver(size_hw, (size_hw[0] // 4, size_hw[1] // 4))
    first, second = moving(*size_hw, 8)
    assert observer(first, "dis") is None
    observation = observer(second, "dis")
    assert np.median(observation.motion[..., 0]) == pytest.approx(2, abs=0.4)  # 8 pixels are 2 cells
    assert observation.mean_statistics.speed == pytest.approx(8 / size_hw[1], rel=0.4)
    assert observation.mean_statistics.unexplained < observation.mean_statistics.changed


def test_the_frame_may_be_larger_than_the_networks_input() -> None:
    observer = MotionObserver((192, 256), (48, 64))
    first, second = moving(384, 512, 16)
    observer(first, "dis")
    assert np.median(observer(second, "dis").motion[..., 0]) == pytest.approx(2, abs=0.4)
