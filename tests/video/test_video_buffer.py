"""Buffer strategies: who gets which frames, exact counts, and motion over what was dropped."""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
import pytest

from edge_vseg.errors import OptionError
from edge_vseg.motion.composition import compose_fields
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, FrameCounts
from edge_vseg.video.frame_buffer import FrameBuffer

PATIENCE_S = 20.0


def frame(seq: int, motion: float | None = 1.0, size: int = 8) -> Frame:
    field = None if motion is None else np.full((2, 2, 2), motion, np.float32)
    return Frame(image=np.zeros((size, size, 3), np.uint8), seq=seq, capture_ns=0, motion=field)


def drained(buffer: FrameBuffer) -> list[Frame]:
    buffer.end()
    return list(iter(buffer.take, None))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [6]),
        ({"keep": "newest", "frames": 3}, [4, 5, 6]),
        ({"keep": "oldest"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"keep": "oldest", "frames": 3}, [0, 1, 2]),
    ],
    ids=str,
)
def test_what_a_reader_that_looks_away_gets(options: dict[str, Any], kept: list[int]) -> None:
    buffer = FrameBuffer(BufferOptions(**options))
    for seq in range(7):
        buffer.put(frame(seq))
    waiting = len(kept)
    assert buffer.counts == FrameCounts(captured=7, dropped=7 - waiting, waiting=waiting, read=0)
    assert [item.seq for item in drained(buffer)] == kept
    assert buffer.counts == FrameCounts(captured=7, dropped=7 - waiting, waiting=0, read=waiting)


def test_every_frame_waits_for_room() -> None:
    buffer = FrameBuffer(BufferOptions(keep="every", frames=2))
    third = threading.Event()

    def fill() -> None:
        for seq in range(5):
            buffer.put(frame(seq))
            if seq == 2:
                third.set()
        buffer.end()

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    assert not third.wait(0.1)
    assert buffer.counts == FrameCounts(captured=2, dropped=0, waiting=2, read=0)
    assert [item.seq for item in iter(buffer.take, None)] == [0, 1, 2, 3, 4]
    writer.join(PATIENCE_S)
    assert buffer.counts == FrameCounts(captured=5, dropped=0, waiting=0, read=5)


def test_stopping_ends_a_writer_that_waits_for_room() -> None:
    buffer = FrameBuffer(BufferOptions(keep="every", frames=1))
    buffer.put(frame(0))
    writer = threading.Thread(target=buffer.put, args=(frame(1),))
    writer.start()
    buffer.stop()
    writer.join(PATIENCE_S)
    assert not writer.is_alive()
    assert buffer.counts == FrameCounts(captured=2, dropped=1, waiting=1, read=0)


@pytest.mark.parametrize("bound", [1, 2])
def test_motion_leads_over_dropped_frames(bound: int) -> None:
    buffer = FrameBuffer(BufferOptions(frames=bound))
    buffer.put(frame(0, None))
    assert buffer.take() is not None
    for seq, motion in ((1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125)):
        buffer.put(frame(seq, motion))
    frames = drained(buffer)
    assert [item.seq for item in frames] == [4] if bound == 1 else [3, 4]
    first = frames[0]
    assert first.motion_to == 0
    assert first.motion is not None
    np.testing.assert_allclose(first.motion, 1.875 if bound == 1 else 1.75)
    assert [item.motion_to for item in frames[1:]] == [None] * (bound - 1)


def test_motion_leads_over_frames_that_found_no_room() -> None:
    buffer = FrameBuffer(BufferOptions(keep="oldest", frames=1))
    for seq in range(3):
        buffer.put(frame(seq))
    assert buffer.take() is not None
    buffer.put(frame(3))
    after = buffer.take()
    assert after is not None
    assert (after.seq, after.motion_to) == (3, 0)
    assert after.motion is not None
    np.testing.assert_allclose(after.motion, 3)


@pytest.mark.parametrize(
    "dropped", [frame(1, None), frame(1, size=16)], ids=["a picture without vectors", "another size"]
)
def test_motion_ends_where_it_is_unknown(dropped: Frame) -> None:
    buffer = FrameBuffer(BufferOptions())
    buffer.put(dropped)
    buffer.put(frame(2))
    after = buffer.take()
    assert after is not None
    assert after.motion is None
    assert after.motion_to is None


def test_composition_against_the_exact_motion_of_a_turn() -> None:
    """Two turns by 3 and 5 degrees are one by 8 degrees, whatever the interpolation."""
    size = 64
    y, x = np.mgrid[:size, :size].astype(np.float64)

    def turn(degrees: float) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, 1.0)
        there = np.stack([matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
                          matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]], axis=-1)  # fmt: skip
        return (there - np.stack([x, y], axis=-1)).astype(np.float32)

    both = compose_fields(turn(3), turn(5))
    inner = slice(12, -12)
    # 1/32 pixel is the step of OpenCV's interpolation tables, times the slope of the field.
    np.testing.assert_allclose(both[inner, inner], turn(8)[inner, inner], atol=0.01)
    assert np.abs(turn(3) + turn(5) - turn(8))[inner, inner].max() > 0.05, "adding would have done"


def test_composition_of_fields_of_two_sizes() -> None:
    newer, older = np.full((4, 6, 2), 1, np.float32), np.full((8, 12, 2), 4, np.float32)
    np.testing.assert_allclose(compose_fields(newer, older), 3)


@pytest.mark.parametrize("wrong", [{"keep": "some"}, {"frames": 0}], ids=str)
def test_impossible_buffers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        BufferOptions(**wrong)
