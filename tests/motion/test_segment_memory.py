"""Segments are found again by their looks: drawn scenes in which a disc passes behind a post."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vseg.motion.segment_memory import FoundSegment, SegmentMemory, write_found
from edge_vseg.motion.segments import LEAST_CELLS, MOST_SEGMENTS, cut_segments

SIZE = HEIGHT, WIDTH = 60, 96
GROUND, POST, THING, OTHER = 0, 1, 5, 6
POST_COLUMNS = slice(40, 54)
RADIUS = 7
STILL = np.zeros((*SIZE, 2), np.float32)


def texture(seed: int, size: tuple[int, int], low: int, high: int) -> np.ndarray:
    """Blocks of 3x3 cells, so that a blur and half a cell change little."""
    blocks = np.random.default_rng(seed).integers(low, high, (size[0] // 3 + 1, size[1] // 3 + 1, 3))
    return blocks.repeat(3, 0).repeat(3, 1)[: size[0], : size[1]].astype(np.uint8)


GROUND_LOOKS = texture(1, SIZE, 60, 120)
POST_LOOKS = texture(2, SIZE, 10, 40)
THING_LOOKS = texture(3, (2 * RADIUS + 1, 2 * RADIUS + 1), 130, 250)


def scene(x: int, y: int = 30, looks: np.ndarray = THING_LOOKS, label: int = THING) -> tuple[np.ndarray, np.ndarray]:
    """Picture and labels with a disc at a place, behind the post."""
    picture, labels = GROUND_LOOKS.copy(), np.full(SIZE, GROUND, np.uint8)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    disc = (rows - y) ** 2 + (columns - x) ** 2 <= RADIUS**2
    picture[disc] = looks[(rows - y + RADIUS)[disc], (columns - x + RADIUS)[disc]]
    labels[disc] = label
    picture[:, POST_COLUMNS], labels[:, POST_COLUMNS] = POST_LOOKS[:, POST_COLUMNS], POST
    return picture, labels


def drawn(found: list[FoundSegment], size: tuple[int, int] = SIZE) -> np.ndarray:
    labels = np.full(size, 255, np.uint8)
    write_found(labels, found, SIZE)
    return labels


def passing(speed: int, from_x: int, until_x: int, memory: SegmentMemory, **last: object) -> list[FoundSegment]:
    """What is found at the end, where the motion says that nothing has moved."""
    memory.remember(*scene(from_x), STILL)
    for x in range(from_x + speed, until_x, speed):
        memory.look(scene(x)[0])
    return memory.find(scene(until_x, **last)[0], STILL)  # type: ignore[arg-type]


@pytest.mark.parametrize("speed", [1, 2, 3, 5])
def test_what_comes_out_again_is_found(speed: int) -> None:
    """Also where it is so fast that it is not where it is searched after one step of the flow's motion, none."""
    until_x = 12 + speed * round(52 / speed)
    found = drawn(passing(speed, 12, until_x, SegmentMemory([THING])))
    truth = scene(until_x)[1]
    assert (truth == THING).sum() > 60
    assert np.mean(found[truth == THING] == THING) > 0.9
    assert np.mean(found[truth != THING] == THING) < 0.01


def test_nothing_is_found_while_it_is_hidden() -> None:
    assert passing(2, 12, 46, SegmentMemory([THING])) == []


@pytest.mark.parametrize(
    "last", [{"looks": texture(4, THING_LOOKS.shape[:2], 0, 60)}, {"y": 12}], ids=["looks", "elsewhere"]
)
def test_what_looks_otherwise_or_is_elsewhere_is_not_the_same(last: dict[str, object]) -> None:
    found = drawn(passing(2, 12, 64, SegmentMemory([THING]), **last))
    assert np.mean(found == THING) < 0.005


def test_other_classes_are_not_remembered() -> None:
    memory = SegmentMemory([OTHER])
    assert passing(2, 12, 64, memory) == []
    assert len(memory) == 0


def test_where_the_motion_is_right_nothing_is_changed() -> None:
    """The disc moves in the open, and the motion says so."""
    memory = SegmentMemory([THING])
    memory.remember(*scene(12), STILL)
    (picture, labels), motion = scene(22), STILL.copy()
    motion[labels == THING] = (-10, 0)
    assert np.mean(drawn(memory.find(picture, motion, frames=5)) == THING) < 0.005


def test_several_frames_at_once() -> None:
    """Looked at on every third frame only."""
    memory = SegmentMemory([THING])
    memory.remember(*scene(12), STILL)
    for x in (18, 24, 30, 36, 42, 48):
        memory.look(scene(x)[0], frames=3)
    found = drawn(memory.find(scene(66)[0], STILL, frames=9))
    assert np.mean(found[scene(66)[1] == THING] == THING) > 0.9


def test_what_leaves_is_forgotten() -> None:
    memory = SegmentMemory([THING])
    memory.remember(*scene(80), STILL)
    for x in range(83, 140, 3):
        memory.look(scene(x)[0])
    assert len(memory) == 0
    memory.remember(*scene(12), None)
    assert len(memory) == 1
    memory.forget()
    assert len(memory) == 0
    assert memory.find(scene(12)[0], STILL) == []


def test_two_things_in_one_patch_are_told_apart_by_their_motion() -> None:
    labels, motion = np.zeros(SIZE, np.uint8), STILL.copy()
    labels[20:40, 30:60] = THING
    motion[:, 45:] = (-3, 1)
    segments = cut_segments(GROUND_LOOKS, labels, motion, [THING])
    assert sorted((each.left, each.mask.shape[1], each.speed_x, each.speed_y) for each in segments) == [
        (30, 15, 0.0, 0.0),
        (45, 15, 3.0, -1.0),
    ]
    for each in segments:
        box = np.s_[each.top : each.top + each.mask.shape[0], each.left : each.left + each.mask.shape[1]]
        np.testing.assert_array_equal(each.color, GROUND_LOOKS[box])
        assert each.mask.all()
    (whole,) = cut_segments(GROUND_LOOKS, labels, None, [THING])
    assert (whole.left, whole.top, whole.mask.shape) == (30, 20, (20, 30))


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_segments_are_parts_of_their_classes(seed: int, share: float) -> None:
    """No cell twice, none of another class, none in a patch that is too small."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(SIZE) < share, rng.choice([THING, OTHER]), GROUND).astype(np.uint8)
    motion = rng.normal(0, 1, (*SIZE, 2)).astype(np.float32)
    segments = cut_segments(GROUND_LOOKS, labels, motion, [THING, OTHER])
    assert len(segments) <= MOST_SEGMENTS
    taken = np.zeros(SIZE, int)
    for each in segments:
        assert each.mask.sum() >= LEAST_CELLS
        box = np.s_[each.top : each.top + each.mask.shape[0], each.left : each.left + each.mask.shape[1]]
        taken[box] += each.mask
        assert (labels[box][each.mask] == each.label).all()
    assert taken.max(initial=0) <= 1


@pytest.mark.parametrize("scale", [1, 4, 0.5, 2.5])
def test_label_maps_of_any_size_are_written_to(scale: float) -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[4:16, 6:24] = True
    found = FoundSegment(label=THING, rows=slice(20, 40), columns=slice(30, 60), mask=mask)
    size = round(HEIGHT * scale), round(WIDTH * scale)
    labels = drawn([found], size)
    rows, columns = np.nonzero(labels == THING)
    expected = np.array([24, 36, 36, 54]) * scale
    np.testing.assert_allclose(
        [rows.min(), rows.max() + 1, columns.min(), columns.max() + 1], expected, atol=max(1, scale / 2)
    )
