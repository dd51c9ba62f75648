"""Free space against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_vseg.bundle.labels import named_labels
from edge_vseg.errors import FrameError, OptionError
from edge_vseg.navigation import class_ids, free_distance, free_polygon

maps = st.tuples(st.integers(1, 7), st.integers(1, 7)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 0, 0, 3, 7, 255]))
)
class_sets = st.frozensets(st.sampled_from([0, 3, 7]))


def counted(labels: np.ndarray, classes: frozenset[int]) -> list[int]:
    height, width = labels.shape
    distances = []
    for x in range(width):
        rows = 0
        while rows < height and labels[height - 1 - rows, x] in classes:
            rows += 1
        distances.append(rows)
    return distances


def inside_by_rays(polygon: np.ndarray, x: float, y: float) -> bool:
    """Even-odd rule with a horizontal ray."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            crossings += 1
    return crossings % 2 == 1


@given(maps, class_sets)
def test_distance(labels: np.ndarray, classes: frozenset[int]) -> None:
    found = free_distance(labels, classes)
    assert found.dtype == np.int32
    assert found.tolist() == counted(labels, classes)


@given(maps, class_sets)
def test_the_polygon_holds_the_free_pixels_and_no_others(labels: np.ndarray, classes: frozenset[int]) -> None:
    polygon = free_polygon(labels, classes)
    height, width = labels.shape
    distances = counted(labels, classes)
    if not any(distances):
        assert polygon.shape == (0, 2)
        return
    for x in range(width):
        for y in range(height):
            assert inside_by_rays(polygon, x + 0.5, y + 0.5) == (y >= height - distances[x])
    x, y = polygon.astype(int).T
    doubled = int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    assert doubled == 2 * sum(distances), "clockwise on the screen, where y points down"
    assert (np.any(np.diff(polygon, axis=0), axis=1)).all() or 0 in distances, "no corner twice"


def test_names() -> None:
    labels = named_labels("camvid")
    names = [label.name for label in labels]
    assert class_ids(labels, ["road", "pavement"]) == {names.index("road"), names.index("pavement")}
    assert class_ids(labels, "road") == {names.index("road")}
    with pytest.raises(OptionError, match=r"got \['street'\]; known: sky, building"):
        class_ids(labels, ["road", "street"])
    with pytest.raises(OptionError, match="expected names"):
        class_ids(labels, [])


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3)), np.zeros((0, 3), np.uint8), [[0]], None], ids=str
)
def test_what_is_no_label_map(wrong: object) -> None:
    for function in (free_distance, free_polygon):
        with pytest.raises(FrameError, match=r"expected a \(H, W\) uint8 label map"):
            function(wrong, {0})  # type: ignore[arg-type]


def test_impossible_classes() -> None:
    with pytest.raises(OptionError, match="from 0 to 255, got 256"):
        free_distance(np.zeros((2, 2), np.uint8), {256})
