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
    assert observation.mean_statistics(np.mean).speed == pytest.approx(8 / size_hw[1], rel=0.4)
    assert observation.mean_statistics(np.mean).unexplained < observation.mean_statistics(np.mean).changed


def test_the_frame_may_be_larger_than_the_networks_input() -> None:
    observer = MotionObserver((192, 256), (48, 64))
    first, second = moving(384, 512, 16)
    observer(first, "dis")
    assert np.median(observer(second, "dis").motion[..., 0]) == pytest.approx(2, abs=0.4)


def noisy(image: np.ndarray, seed: int, sigma: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape[:2])[..., None]
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["dis", "dis-half", "still", "codec"])
def test_a_resting_scene_costs_no_flow(name: str) -> None:
    observer, (picture, other) = MotionObserver((192, 256), (48, 64)), moving(192, 256, 8)
    vectors = np.ones((24, 32, 2), np.float32)
    seen = [observer(noisy(picture, seed), name, vectors) for seed in range(6)]
    assert seen[0] is None
    for observation in seen[1:]:
        assert observation.estimator == "still"
        assert observation.motion.shape == (48, 64, 2)
        assert observation.coarse.shape == (*observer.statistics_hw, 2)
        assert not observation.motion.any()
        assert not observation.coarse.any()
        assert not observation.statistics.any()
        assert not observation.motion.flags.writeable
    assert observer(other, name, vectors).estimator == name


def test_the_step_is_charged_to_what_was_done() -> None:
    charged: list[str] = []
    observer = MotionObserver((192, 256), (48, 64), on_duration=lambda step, duration_ns: charged.append(step))
    first, second = moving(192, 256, 8)
    for image in (first, first, second):
        observer(image, "dis")
    assert charged == ["motion still", "motion dis"]


def test_slow_motion_is_found_as_soon_as_it_has_added_up() -> None:
    """A tenth of a pixel per frame stays under the noise; the flow that is computed at last covers all of it."""
    observer = MotionObserver((192, 256), (48, 64))
    wide = cv2.GaussianBlur(moving(192, 512, 0)[0], (0, 0), 4)
    total, computed = 0.0, 0
    for frame in range(40):
        shift = np.array([[1, 0, -40 - 0.1 * frame], [0, 1, 0]], np.float32)
        observation = observer(cv2.warpAffine(wide, shift, (256, 192), flags=cv2.INTER_LINEAR), "dis-half")
        if observation is not None:
            total += float(np.median(observation.motion[..., 0]))
            computed += observation.estimator != "still"
    assert 1 <= computed <= 25
    assert total == pytest.approx(39 * 0.1 / 4, abs=0.35)  # cells of 4 pixels


def test_vectors_of_the_codec_add_up_while_motion_is_too_slow_to_be_seen() -> None:
    """A tenth of a pixel a frame stays under the noise; the frame that shows it has moved by all of them."""
    observer = MotionObserver((192, 256), (48, 64))
    wide = cv2.GaussianBlur(moving(192, 512, 0)[0], (0, 0), 4)
    vectors = np.zeros((24, 32, 2), np.float32)
    vectors[..., 0] = 0.1 * 32 / 256
    total, seen = 0.0, 0
    for frame in range(40):
        shift = np.float32([[1, 0, -128 + 0.1 * frame], [0, 1, 0]])
        image = cv2.warpAffine(wide, shift, (256, 192), flags=cv2.INTER_LINEAR)
        observation = observer(image, "codec", vectors)
        if observation is not None and observation.estimator == "codec":
            seen += 1
            total += float(np.median(observation.motion[..., 0]))
    assert 0 < seen < 20
    # What has not been seen yet is still to come.
    assert total == pytest.approx(0.1 * 39 * 64 / 256, abs=0.25 * 64 / 256 * 2)
    assert total > 0.5 * 0.1 * 39 * 64 / 256


def test_a_frame_without_vectors_breaks_the_chain_until_the_next_motion() -> None:
    observer, (first, second) = MotionObserver((192, 256), (48, 64)), moving(192, 256, 8)
    vectors = np.zeros((24, 32, 2), np.float32)
    vectors[..., 0] = 1
    observer(first, "codec", vectors)
    assert observer(noisy(first, 1), "codec", None).estimator == "still"
    assert observer(noisy(first, 2), "codec", vectors).estimator == "still"
    assert observer(second, "codec", vectors).estimator == "dis"
    observation = observer(first, "codec", vectors)
    assert observation.estimator == "codec"
    vectors[:] = 7  # the caller's own again
    np.testing.assert_allclose(observation.motion[..., 0], 2, atol=1e-5)


def test_without_vectors_codec_falls_back() -> None:
    observer, (first, second) = MotionObserver((192, 256), (48, 64)), moving(192, 256, 8)
    observer(first, "codec")
    assert observer(second, "codec").estimator == "dis"


@pytest.mark.parametrize("field_hw", [(24, 32), (48, 64), (96, 128), (37, 51)], ids=str)
@pytest.mark.parametrize("name", ["dis", "dis-half"])
def test_fields_have_the_size_that_was_asked_for(name: str, field_hw: tuple[int, int]) -> None:
    observer, (first, second) = MotionObserver((192, 256), field_hw), moving(192, 256, 8)
    observer(first, name)
    field = observer(second, name).motion
    assert field.shape == (*field_hw, 2)
    assert np.median(field[..., 0]) == pytest.approx(8 * field_hw[1] / 256, rel=0.2)


def test_statistics_against_their_definition() -> None:
    observer, (first, second) = MotionObserver((192, 256), (48, 64)), moving(192, 256, 8)
    observer(first, "dis")
    observation = observer(second, "dis")
    height, width = observer.statistics_hw
    relative = observation.coarse / (width, height)
    speed, spread, unexplained, changed = observation.statistics
    np.testing.assert_allclose(speed, np.linalg.norm(relative, axis=2), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        spread, np.linalg.norm(relative - relative.mean(axis=(0, 1)), axis=2), rtol=1e-3, atol=1e-6
    )
    before, now = (block_means(image) for image in (first, second))
    np.testing.assert_allclose(changed, np.abs(now - before) / 255, atol=3 / 255)
    x, y = (observation.coarse[..., axis] + grid for axis, grid in enumerate(np.meshgrid(range(width), range(height))))
    warped = cv2.remap(
        before.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    np.testing.assert_allclose(unexplained, np.abs(now - warped) / 255, atol=4 / 255)


def block_means(image: np.ndarray) -> np.ndarray:
    grey = image @ np.array([0.114, 0.587, 0.299])
    return grey.reshape(image.shape[0] // 8, 8, image.shape[1] // 8, 8).mean(axis=(1, 3))
