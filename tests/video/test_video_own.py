"""Images that a program brings itself."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_vseg.errors import FrameError, OptionError
from edge_vseg.types import Frame
from edge_vseg.video import FrameCounts, Mailbox, open_source

PATIENCE_S = 20.0


def image(value: int = 0) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def test_an_iterable_gives_every_image() -> None:
    with open_source(image(n) for n in range(5)) as source:
        assert not source.is_live
        frames = list(source)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].pts_ns == 0
    assert all(a.capture_ns <= b.capture_ns for a, b in itertools.pairwise(frames))


def test_a_list_of_images_and_a_limit() -> None:
    with open_source([image(1), image(2), image(3)], max_frames=2) as source:
        assert [int(frame.image[0, 0, 0]) for frame in source] == [1, 2]


def test_a_function_is_called_until_it_returns_none() -> None:
    left = [image(1), image(2), None]
    with open_source(lambda: left.pop(0)) as source:
        assert [int(frame.image[0, 0, 0]) for frame in source] == [1, 2]
    assert left == []


def test_a_driver_that_blocks_is_read_live() -> None:
    gate = threading.Event()

    def driver() -> Iterator[np.ndarray]:
        for n in range(4):
            yield image(n)
        assert gate.wait(PATIENCE_S)

    with open_source(driver(), live=True) as source:
        assert source.is_live
        deadline = time.monotonic() + PATIENCE_S
        while source.counts.captured < 4:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert next(source).seq == 3
        assert source.counts == FrameCounts(captured=4, dropped=3, waiting=0, read=1)
        gate.set()


def test_a_live_driver_may_fill_one_buffer_again_and_again() -> None:
    """The thread asks for the next picture while the reader still has the one before it."""
    memory, left, again = image(), iter(range(1, 50)), threading.Event()

    def driver() -> np.ndarray | None:
        number = next(left, None)
        if number is None:
            return None
        memory[:] = number
        if number > 1:
            again.set()
            time.sleep(0.002)
        return memory

    pictures = []
    with open_source(driver, live=True) as source:
        for frame in source:
            assert again.wait(PATIENCE_S)
            pictures.append((frame.seq, int(frame.image.min()), int(frame.image.max())))
            time.sleep(0.01)
    assert len(pictures) > 1
    assert [low for _, low, _ in pictures] == [seq + 1 for seq, _, _ in pictures]
    assert [high for _, _, high in pictures] == [seq + 1 for seq, _, _ in pictures]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8), "a.png"], ids=str
)
def test_what_is_not_an_image_is_refused(wrong: object) -> None:
    with open_source(iter([wrong])) as source, pytest.raises(FrameError, match=r"\(H, W, 3\) uint8"):  # type: ignore[list-item]
        next(source)
    with Mailbox() as box, pytest.raises(FrameError):
        box.put(wrong)  # type: ignore[arg-type]


def test_codec_motion_is_refused() -> None:
    with pytest.raises(OptionError, match="no codec motion vectors"):
        open_source(iter([image()]), codec_motion=True)
    with pytest.raises(OptionError, match="got float"):
        open_source(1.5)  # type: ignore[arg-type]


def test_a_mailbox_keeps_the_newest_image() -> None:
    with Mailbox(name="left", fps=30) as box:
        assert open_source(box) is box
        for n in range(3):
            assert box.put(image(n))
        frame = next(box)
        assert (frame.seq, int(frame.image[0, 0, 0]), frame.source_name) == (2, 2, "left")
        assert (box.fps, box.is_live) == (30, True)
        box.put(image(9))
        assert box.counts == FrameCounts(captured=4, dropped=2, waiting=1, read=1)
        box.finish()
        assert [item.seq for item in box] == [3]
        assert box.connection.state == "ended"


def test_a_mailbox_copies() -> None:
    memory = image(1)
    with Mailbox() as box:
        box.put(memory)
        memory[:] = 2
        assert next(box).image.max() == 1


def test_capture_times_of_a_mailbox() -> None:
    with Mailbox() as box:
        then_ns = time.monotonic_ns() - 30_000_000
        box.put(image(), capture_ns=then_ns)
        assert next(box).capture_ns == then_ns
        box.put(image(), capture_ns=then_ns + 10_000_000)
        assert next(box).pts_ns == 10_000_000
        with pytest.raises(OptionError, match="not the wall clock"):
            box.put(image(), capture_ns=time.time_ns())
        for wrong in (time.monotonic_ns() - 700 * 10**9, -5 * 10**15):
            with pytest.raises(OptionError, match=r"s in the past.*time\.monotonic_ns\(\) of the capture, in nano"):
                box.put(image(), capture_ns=wrong)


def test_closing_a_mailbox_wakes_its_reader() -> None:
    box = Mailbox()
    seen: list[list[Frame]] = []
    reader = threading.Thread(target=lambda: seen.append(list(box)))
    reader.start()
    box.close()
    reader.join(PATIENCE_S)
    assert seen == [[]]
    assert not box.put(image())


def test_many_threads_put_into_a_mailbox() -> None:
    with Mailbox() as box:
        writers = [threading.Thread(target=lambda: [box.put(image()) for _ in range(200)]) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(PATIENCE_S)
        assert next(box).seq == 799
        assert box.counts == FrameCounts(captured=800, dropped=799, waiting=0, read=1)
