"""Overlays: colours, transparency, border, legend."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.imaging.overlay import BORDER_COLORS, colorize, draw_overlay
from edge_vseg.types import LabelSource

PALETTE = (
    Label(id=0, name="road", color=(128, 64, 128)),
    Label(id=1, name="sky", color=(70, 130, 180)),
    Label(id=2, name="Straße", color=(255, 0, 0)),
)
COLORS = {0: (128, 64, 128), 1: (70, 130, 180), 2: (255, 0, 0)}
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def labels_of(size: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 255]))


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def inside(height: int, width: int) -> tuple[slice, slice]:
    """Where the border of a frame of at most 180 pixels does not reach."""
    return slice(1, height - 1), slice(1, width - 1)


@given(SIZES.flatmap(labels_of))
def test_colorize_gives_the_colours_of_the_manifest_as_bgr(labels):
    image = colorize(labels, PALETTE)
    for row, column in np.ndindex(labels.shape):
        rgb = COLORS.get(int(labels[row, column]), (0, 0, 0))
        assert tuple(image[row, column].tolist()) == rgb[::-1]


@given(SIZES.flatmap(labels_of), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_every_pixel_is_the_blend_of_image_and_class(labels, alpha):
    image = picture(labels.shape)
    out = draw_overlay(image, labels, PALETTE, alpha=alpha, legend=False)
    colors = np.array([COLORS.get(int(value), (0, 0, 0))[::-1] for value in labels.ravel()]).reshape(image.shape)
    expected = (1 - alpha) * image.astype(float) + alpha * colors
    expected[labels == 255] = image[labels == 255]
    within = inside(*labels.shape)
    assert np.abs(out[within] - expected[within]).max(initial=0) <= 1


def test_ignored_pixels_are_transparent_even_when_alpha_is_one():
    image, labels = picture((20, 20)), np.full((20, 20), 255, np.uint8)
    out = draw_overlay(image, labels, PALETTE, alpha=1)
    np.testing.assert_array_equal(out[inside(20, 20)], image[inside(20, 20)])


def test_the_image_given_is_not_changed():
    image = picture((120, 160))
    before = image.copy()
    draw_overlay(image, np.zeros((120, 160), np.uint8), PALETTE)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("source", "strongest"), [("inferred", {1}), ("propagated", {0}), ("partial", {1, 2})], ids=lambda value: str(value)
)
def test_the_border_shows_the_source(source, strongest):
    """Green, blue, orange (red and half as much green), in BGR."""
    image, labels = np.zeros((240, 320, 3), np.uint8), np.full((240, 320), 255, np.uint8)
    out = draw_overlay(image, labels, PALETTE, source=source)
    edges = np.concatenate([out[0], out[-1], out[:, 0], out[:, -1]])
    color = edges[0].astype(int)
    assert (edges == color).all()
    assert {channel for channel in range(3) if color[channel] > 130} == strongest
    # Thin: two pixels on this frame.
    assert (out[2:-2, 2:-2] == 0).all()
    assert (out[1] == color).all()


@given(st.integers(1, 400), st.integers(1, 400))
def test_the_legend_never_covers_more_than_half_of_either_side(height, width):
    palette = [Label(id=index, name=f"class number {index}", color=(9, 9, 9)) for index in range(25)]
    labels = (np.arange(height * width) % 25).astype(np.uint8).reshape(height, width)
    image = np.full((height, width, 3), 250, np.uint8)
    plain = draw_overlay(image, labels, palette, legend=False)
    changed = (draw_overlay(image, labels, palette) != plain).any(axis=2)
    if changed.any():
        rows, columns = np.nonzero(changed)
        assert rows.max() < 0.5 * height
        assert columns.max() < 0.5 * width


def legend_height(labels: np.ndarray) -> int:
    image = np.full((*labels.shape, 3), 200, np.uint8)
    with_it, without = (draw_overlay(image, labels, PALETTE, legend=legend) for legend in (True, False))
    rows = np.flatnonzero((with_it != without).any(axis=(1, 2)))
    return len(rows)


def test_the_legend_names_visible_classes_only():
    labels = np.zeros((360, 480), np.uint8)
    one = legend_height(labels)
    labels[200:] = 1
    two = legend_height(labels)
    labels[300:, 200:] = 2
    three = legend_height(labels)
    labels[:] = 255
    assert legend_height(labels) == 0
    assert 0 < one < two < three
    assert three - two == two - one


def test_the_largest_class_comes_first():
    labels = np.zeros((360, 480), np.uint8)
    labels[100:] = 2
    out = draw_overlay(np.full((360, 480, 3), 200, np.uint8), labels, PALETTE)
    panel = out[4:40, 4:40].astype(int)
    red_rows = np.flatnonzero((np.abs(panel - (0, 0, 255)).sum(axis=2) < 5).any(axis=1))
    road_rows = np.flatnonzero((np.abs(panel - (128, 64, 128)).sum(axis=2) < 5).any(axis=1))
    assert red_rows.size
    assert road_rows.size
    assert red_rows.max() < road_rows.min()


def test_a_frame_too_small_for_letters_has_no_legend():
    assert legend_height(np.zeros((20, 30), np.uint8)) == 0


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        pytest.param(picture((8, 8)), np.zeros((8, 9), np.uint8), r"\(8, 8\), got \(8, 9\)", id="another size"),
        pytest.param(picture((8, 8)), np.zeros((8, 8), np.int64), "int64", id="labels of another dtype"),
        pytest.param(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), r"\(H, W, 3\)", id="grey image"),
        pytest.param(np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), "float64", id="image of another dtype"),
    ],
)
def test_mismatched_images_and_labels_are_refused(image, labels, message):
    with pytest.raises(FrameError, match=message):
        draw_overlay(image, labels, PALETTE)


def test_a_class_without_colour_is_refused():
    labels = np.full((4, 4), 3, np.uint8)
    with pytest.raises(OptionError, match=r"class 3, but the palette has only \[0, 1, 2\]"):
        draw_overlay(picture((4, 4)), labels, PALETTE)
    with pytest.raises(OptionError, match="class 3"):
        colorize(labels, PALETTE)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(OptionError, match="between 0 and 1"):
        draw_overlay(picture((4, 4)), np.zeros((4, 4), np.uint8), PALETTE, alpha=alpha)


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(OptionError, match=", ".join(BORDER_COLORS)):
        draw_overlay(picture((4, 4)), np.zeros((4, 4), np.uint8), PALETTE, source="guessed")


def test_every_source_has_a_colour() -> None:
    assert set(BORDER_COLORS) == set(get_args(LabelSource))
