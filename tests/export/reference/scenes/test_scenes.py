"""Rendered streets: reproducible, with every class, and with motion and occlusion that are true."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.errors import OptionError
from edge_vseg.export.reference.scenes import (
    CAMERAS,
    NO_EFFECTS,
    CameraEffects,
    SceneFrame,
    StreetOptions,
    render_motion,
    render_street,
)
from edge_vseg.export.reference.scenes.geometry import BICYCLIST, CAR, PEDESTRIAN
from edge_vseg.export.reference.scenes.palette import make_palette

MOVERS = (CAR, PEDESTRIAN, BICYCLIST)


def clear(**options) -> StreetOptions:
    return StreetOptions(**{"size_hw": (180, 240), "effects": NO_EFFECTS, "light": "overcast"} | options)


def pair(options: StreetOptions, number: int = 1) -> tuple[SceneFrame, SceneFrame]:
    first, second = islice(render_street(options, number + 1), number - 1, number + 1)
    return first, second


def carried(value: np.ndarray, motion: np.ndarray, interpolation: int) -> np.ndarray:
    y, x = np.mgrid[0 : motion.shape[0], 0 : motion.shape[1]].astype(np.float32)
    return cv2.remap(value, x + motion[..., 0], y + motion[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)


def interior(labels: np.ndarray) -> np.ndarray:
    """Away from the borders between classes."""
    kernel = np.ones((5, 5), np.uint8)
    return cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)


@pytest.mark.parametrize("camera", CAMERAS)
def test_warping_along_the_motion_gives_the_next_frame(camera) -> None:
    before, now = pair(clear(camera=camera, seed=4), 3)
    visible = ~now.occluded & interior(now.labels)
    assert visible.mean() > 0.6
    labels = carried(before.labels, now.motion, cv2.INTER_NEAREST)
    assert np.mean(labels[visible] == now.labels[visible]) > 0.995
    warped = np.abs(carried(before.image, now.motion, cv2.INTER_LINEAR).astype(int) - now.image).mean(-1)
    unwarped = np.abs(before.image.astype(int) - now.image).mean(-1)
    moving = visible & (np.hypot(*np.moveaxis(now.motion, -1, 0)) > 1)
    assert warped[visible].mean() < 4
    assert warped[moving].mean() < 0.6 * unwarped[moving].mean()


def test_warping_fails_at_occluded_pixels() -> None:
    """Where the truth says hidden, the frame before shows something else, far more often than where it says seen."""
    before, now = pair(clear(camera="fixed", seed=4, traffic=2.0), 20)
    labels = carried(before.labels, now.motion, cv2.INTER_NEAREST)
    hidden = now.occluded & (now.labels != CAR)
    assert hidden.sum() > 20
    assert np.mean(labels[hidden] != now.labels[hidden]) > 0.5
    assert np.mean(labels[~now.occluded] != now.labels[~now.occluded]) < 0.01


def test_fixed_camera_has_a_static_background() -> None:
    _, now = pair(clear(camera="fixed", seed=4, traffic=2.0), 10)
    still = ~np.isin(now.labels, MOVERS)
    assert np.abs(now.motion[still]).max() < 2e-3
    assert np.abs(now.motion[~still]).max() > 0.5
    none, same = pair(clear(camera="fixed", seed=4, traffic=0.0), 10)
    assert np.array_equal(none.labels, same.labels)
    assert not same.occluded.any()


def test_double_rate_halves_the_motion() -> None:
    slow = list(render_street(clear(seed=5, rate=10.0), 3))[2]
    fast = list(render_street(clear(seed=5, rate=20.0), 5))[4]
    assert np.array_equal(slow.labels, fast.labels)
    assert (slow.pts_ns, fast.pts_ns) == (200_000_000, 200_000_000)
    road = slow.labels == 3
    near = road & (np.arange(180)[:, None] < 150)
    ratio = np.linalg.norm(fast.motion[near], axis=-1) / np.maximum(np.linalg.norm(slow.motion[near], axis=-1), 1e-3)
    assert np.median(ratio) == pytest.approx(0.5, abs=0.06)


def test_frames_do_not_depend_on_their_number() -> None:
    options = StreetOptions(size_hw=(72, 96), seed=9)
    long = list(render_street(options, 5))
    make_palette.cache_clear()
    short = list(render_street(options, 3))
    for first, second in zip(long, short, strict=False):
        for name in ("image", "labels", "motion", "occluded"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    other = next(render_street(StreetOptions(size_hw=(72, 96), seed=10), 1))
    assert np.mean(other.labels != long[0].labels) > 0.1


def test_all_classes_occur() -> None:
    """In a handful of clips, and in shares that a street has."""
    counts = np.zeros(11)
    for seed in range(6):
        for camera in CAMERAS:
            frame = next(render_street(StreetOptions(camera=camera, size_hw=(120, 160), seed=seed), 1))
            counts += np.bincount(frame.labels.ravel(), minlength=11)
    shares = counts / counts.sum()
    assert shares.min() > 0.0005
    assert 0.1 < shares[3] < 0.5
    assert shares[[0, 1, 3, 4, 5]].sum() > 0.7


def test_effects_change_only_the_image() -> None:
    base = dict(size_hw=(72, 96), seed=2)
    plain = list(render_street(StreetOptions(effects=NO_EFFECTS, **base), 3))[2]
    for effects in (
        CameraEffects(noise=12.0, exposure_drift=0, exposure_jumps_per_s=0, shutter=0, vignette=0, softness_px=0),
        CameraEffects(noise=0, exposure_drift=0.5, exposure_jumps_per_s=5, shutter=0, vignette=0, softness_px=0),
        CameraEffects(noise=0, exposure_drift=0, exposure_jumps_per_s=0, shutter=1, vignette=0, softness_px=0),
        CameraEffects(noise=0, exposure_drift=0, exposure_jumps_per_s=0, shutter=0, vignette=0.8, softness_px=0),
        CameraEffects(noise=0, exposure_drift=0, exposure_jumps_per_s=0, shutter=0, vignette=0, softness_px=2),
        CameraEffects(
            noise=0, exposure_drift=0, exposure_jumps_per_s=0, shutter=0, vignette=0, softness_px=0, jpeg_quality=20
        ),
    ):
        changed = list(render_street(StreetOptions(effects=effects, **base), 3))[2]
        assert np.abs(changed.image.astype(int) - plain.image).mean() > 0.3, effects
        for name in ("labels", "motion", "occluded"):
            np.testing.assert_array_equal(getattr(changed, name), getattr(plain, name))


@settings(max_examples=8, deadline=None)
@given(
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    rate=st.floats(1, 120),
    seed=st.integers(0, 2**63 - 1),
    camera=st.sampled_from(CAMERAS),
)
def test_any_size_rate_and_seed(height, width, rate, seed, camera) -> None:
    frames = list(render_street(StreetOptions(camera=camera, size_hw=(height, width), rate=rate, seed=seed), 2))
    assert [frame.seq for frame in frames] == [0, 1]
    for frame in frames:
        assert (frame.image.shape, frame.image.dtype) == ((height, width, 3), np.uint8)
        assert (frame.labels.shape, frame.labels.dtype) == ((height, width), np.uint8)
        assert (frame.motion.shape, frame.motion.dtype) == ((height, width, 2), np.float32)
        assert (frame.occluded.shape, frame.occluded.dtype) == ((height, width), np.bool_)
        assert frame.labels.max() <= 10
        assert np.isfinite(frame.motion).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera": "flying"}, "driving, walking, fixed"),
        ({"size_hw": (8, 100)}, "16 to 4096"),
        ({"size_hw": (100.0, 100)}, "16 to 4096"),
        ({"size_hw": 100}, "16 to 4096"),
        ({"rate": 0.0}, "above 0"),
        ({"rate": float("nan")}, "rate"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"light": "neon"}, "overcast"),
        ({"traffic": 9.0}, "traffic"),
        ({"passing": "tram"}, "none, car, rider, walker"),
        ({"passing": "car", "camera": "fixed"}, "needs camera='driving'"),
        ({"effects": None}, "CameraEffects"),
    ],
    ids=str,
)
def test_invalid_options_raise(options, words) -> None:
    with pytest.raises(OptionError, match=words):
        StreetOptions(**options)


@pytest.mark.parametrize("effects", [{"noise": -1.0}, {"shutter": 2.0}, {"jpeg_quality": 0}], ids=str)
def test_invalid_effects_raise(effects) -> None:
    with pytest.raises(OptionError, match=next(iter(effects))):
        CameraEffects(**effects)


def test_negative_number_of_frames_raises_immediately() -> None:
    with pytest.raises(OptionError, match="negative"):
        render_street(StreetOptions(), -1)


@pytest.mark.parametrize("passing", ["car", "rider", "walker"])
def test_something_passes_behind_a_car_that_stands(passing: str) -> None:
    """Against the same street without it: the camera stands, and a thing goes from side to side, hidden for a while."""
    label = {"car": CAR, "rider": BICYCLIST, "walker": PEDESTRIAN}[passing]
    options = clear(seed=22, passing=passing, traffic=0.0)
    frames = list(render_street(options, 40))
    ground = np.concatenate([np.linalg.norm(frame.motion[frame.labels == 3], axis=-1) for frame in frames])
    assert np.median(ground) < 1  # it looks around a little
    sideways = [(frame.labels == label) & (np.abs(frame.motion[..., 0]) > 0.8) for frame in frames]
    assert max(mask.sum() for mask in sideways) > 100
    pairs = [(now, now - 10) for now in range(12, 40, 4)]
    back = 0
    for (now, then), (_, unseen) in zip(pairs, render_motion(options, pairs), strict=True):
        again = sideways[now] & ~unseen & _hidden_between(frames, then, now)
        back += again.sum()
    assert back > 20


def _hidden_between(frames: list[SceneFrame], then: int, now: int) -> np.ndarray:
    hidden = np.zeros(frames[0].labels.shape, np.uint8)
    for frame in frames[then + 1 : now + 1]:
        hidden = carried(hidden, frame.motion, cv2.INTER_NEAREST) | frame.occluded
    return hidden > 0


def test_motion_to_an_older_frame_leads_to_the_same_points() -> None:
    """Through what was in front in between, where single steps lose them."""
    options = clear(seed=22, passing="car")
    frames = list(render_street(options, 40))
    ((motion, unseen),) = render_motion(options, [(39, 24)])
    seen = ~unseen & interior(frames[39].labels)
    labels = carried(frames[24].labels, motion, cv2.INTER_NEAREST)
    assert np.mean(labels[seen] == frames[39].labels[seen]) > 0.99
    difference = np.abs(carried(frames[24].image, motion, cv2.INTER_LINEAR).astype(int) - frames[39].image).mean(-1)
    assert difference[seen].mean() < 5
    lost = _hidden_between(frames, 24, 39) & seen & (frames[39].labels == CAR)
    assert lost.sum() > 50
    assert np.mean(labels[lost] == CAR) > 0.9
    ((step, hidden),) = render_motion(options, [(39, 38)])
    np.testing.assert_array_equal(step, frames[39].motion)
    np.testing.assert_array_equal(hidden, frames[39].occluded)
    with pytest.raises(OptionError, match="an older one, got 3 and 3"):
        next(render_motion(options, [(3, 3)]))
