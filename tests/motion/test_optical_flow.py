"""Motion against the renderer's truth and against movements that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_vseg.errors import OptionError
from edge_vseg.export.reference.scenes import NO_EFFECTS, StreetOptions, render_street
from edge_vseg.motion import (
    ESTIMATORS,
    motion_estimator,
    photometric_error,
    remap_tables,
    resize_field,
    sampling_map,
)

SIZE_HW = (240, 320)


def texture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = cv2.resize(rng.integers(0, 255, (24, 32), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(cv2.add(coarse, rng.integers(0, 60, (height, width), np.uint8)), (0, 0), 1.0)


def shifted(dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures; what is at (x, y) in the first was at (x + dx, y + dy) in the second."""
    wide = texture(180, 240)
    return wide[20:140, 20:180], wide[20 - dy : 140 - dy, 20 - dx : 180 - dx]


@pytest.mark.parametrize("name", ["dis-coarse", "dis", "dis-fine", "dis-half"])
@pytest.mark.parametrize(("dx", "dy"), [(4, 0), (-3, 2), (0, -4)])
def test_a_shift_is_found(name: str, dx: int, dy: int) -> None:
    present, before = shifted(dx, dy)
    field = resize_field(motion_estimator(name)(present, before), present.shape)
    inner = field[30:-30, 30:-30]
    assert np.abs(np.median(inner[..., 0]) - dx) < 0.3
    assert np.abs(np.median(inner[..., 1]) - dy) < 0.3


@pytest.mark.parametrize(
    ("name", "better"), [("dis-coarse", 0.75), ("dis", 0.6), ("dis-fine", 0.6), ("dis-half", 0.55)]
)
def test_estimates_beat_no_motion_on_a_rendered_drive(name: str, better: float) -> None:
    """Mean endpoint error against the true motion, as a share of what assuming no motion leaves."""
    estimator = motion_estimator(name)
    errors, still = [], []
    before = None
    for frame in render_street(StreetOptions(size_hw=SIZE_HW, seed=4, effects=NO_EFFECTS), 6):
        grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        small = cv2.resize(grey, None, fx=1 / 2, fy=1 / 2, interpolation=cv2.INTER_AREA)
        if before is not None:
            field = resize_field(estimator(small, before), SIZE_HW)
            seen = ~frame.occluded
            errors.append(np.hypot(*np.moveaxis(field - frame.motion, -1, 0))[seen].mean())
            still.append(np.hypot(*np.moveaxis(frame.motion, -1, 0))[seen].mean())
        before = small
    assert np.mean(errors) < better * np.mean(still)


def test_remap_tables_lead_where_the_sampling_map_does() -> None:
    rng = np.random.default_rng(0)
    field = rng.uniform(-3, 3, (20, 30, 2)).astype(np.float32)
    values = cv2.GaussianBlur(rng.uniform(0, 1, (20, 30)).astype(np.float32), (0, 0), 2)
    by_tables = cv2.remap(values, *remap_tables(field), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    by_maps = cv2.remap(values, *sampling_map(field), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(by_tables, by_maps, atol=0.01)  # tables round positions to a 32nd of a cell


def test_the_finer_the_estimate_the_better_on_a_rendered_drive() -> None:
    frames = list(render_street(StreetOptions(size_hw=(360, 480), seed=7), 6))
    errors = {name: [] for name in ("dis-coarse", "dis", "dis-fine", "dis-half")}
    for name, found in errors.items():
        estimator = motion_estimator(name)
        small = (480 // estimator.shrink, 360 // estimator.shrink)
        grey = [
            cv2.resize(cv2.cvtColor(f.image, cv2.COLOR_BGR2GRAY), small, interpolation=cv2.INTER_AREA) for f in frames
        ]
        for before, now, frame in zip(grey, grey[1:], frames[1:], strict=False):
            error = resize_field(estimator(now, before), (360, 480)) - frame.motion
            found.append(np.hypot(*np.moveaxis(error, -1, 0))[~frame.occluded].mean())
    means = [np.mean(found) for found in errors.values()]
    assert means == sorted(means, reverse=True)


def test_resize_field_rescales_displacements() -> None:
    field = np.full((30, 40, 2), (4.0, -3.0), np.float32)
    assert np.allclose(resize_field(field, (15, 20)), (2.0, -1.5))
    assert np.allclose(resize_field(field, (60, 120)), (12.0, -6.0))
    assert resize_field(field, (30, 40)) is field


def test_the_sampling_map_of_zero_motion_is_the_identity() -> None:
    x, y = sampling_map(np.zeros((3, 4, 2), np.float32))
    assert x.tolist() == [[0, 1, 2, 3]] * 3
    assert y[:, 0].tolist() == [0, 1, 2]


def test_photometric_error() -> None:
    present, before = shifted(3, 0)
    present = present.copy()
    present[50:70, 60:90] = 255 - present[50:70, 60:90]
    truth = np.full((*present.shape, 2), (3.0, 0.0), np.float32)
    error = photometric_error(present, before, truth, (12, 16))
    assert error[5:7, 6:9].min() > 5 * np.median(error)
    assert np.median(error) < np.median(photometric_error(present, before, truth * 0, (12, 16)))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="'camera'.* known: still, dis-coarse, dis, dis-fine, dis-half, codec"):
        motion_estimator("camera")


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_pictures_without_texture_give_a_finite_field(name: str) -> None:
    grey = np.full((64, 96), 90, np.uint8)
    field = motion_estimator(name)(grey, grey)
    assert np.isfinite(field).all()
    assert np.abs(field).max() < 1
