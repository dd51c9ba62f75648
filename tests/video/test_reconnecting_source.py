"""What a source that reconnects makes of connections whose frames and errors are played to it."""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
from typing import Any

import numpy as np
import pytest
from scripted_source import PATIENCE_S, ScriptedSource

from edge_vseg.errors import OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, ReconnectOptions, Source
from edge_vseg.video.cameras.device_watch import DeviceWatch
from edge_vseg.video.continuity import Continuity
from edge_vseg.video.frame_buffer import FrameBuffer
from edge_vseg.video.live import _read_all
from edge_vseg.video.reconnect import Backoff, ReconnectingSource


def frame(seq: int, *, at_ms: int, pts_ms: int | None, moves: bool = True) -> Frame:
    motion = np.ones((1, 1, 2), np.float32) if moves else None
    pts_ns = None if pts_ms is None else pts_ms * 10**6
    image = np.zeros((8, 8, 3), np.uint8)
    return Frame(image=image, seq=seq, capture_ns=at_ms * 10**6, pts_ns=pts_ns, motion=motion)


def test_numbers_times_and_motion_over_connections() -> None:
    sources = [
        ScriptedSource(
            frame(0, at_ms=0, pts_ms=0), frame(2, at_ms=80, pts_ms=80), VideoDecodeError("the cable came off")
        ),
        ScriptedSource(),
        ScriptedSource(frame(0, at_ms=500, pts_ms=7), frame(1, at_ms=540, pts_ms=47)),
    ]
    openings = iter([VideoNotFoundError("not yet"), *sources[1:], VideoNotFoundError("gone for good")])

    def opener() -> Source:
        item = next(openings)
        if isinstance(item, Exception):
            raise item
        return item

    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4, give_up_s=1e9)
    with ReconnectingSource(opener, quick, name="played", opened=sources[0]) as source:
        frames = [next(source) for _ in range(4)]
        assert [item.seq for item in frames] == [0, 2, 4, 5]
        assert [item.pts_ns for item in frames] == [0, 80 * 10**6, 500 * 10**6, 540 * 10**6]
        assert [item.motion is None for item in frames] == [False, False, True, False]
        assert source.connection.reconnects == 1
        assert [item.released.is_set() for item in sources] == [True, True, False]
    assert sources[2].released.is_set()


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, "Too many open files", "rtsp://a:geheim@cam"), TimeoutError()])
def test_an_error_of_the_system_passes(fault: OSError, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    openings = iter([fault, ScriptedSource(frame(0, at_ms=500, pts_ms=7))])

    def opener() -> Source:
        item = next(openings)
        if isinstance(item, Exception):
            told.append(source.connection.reason)
            raise item
        told.append(source.connection.reason)
        return item

    told: list[str] = []
    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4)
    lost = ScriptedSource(frame(0, at_ms=0, pts_ms=0), fault)
    with ReconnectingSource(opener, quick, name="played", opened=lost) as source:
        assert [next(source).seq for _ in range(2)] == [0, 2]
    assert told == [fault.strerror or "TimeoutError"] * 2
    assert "geheim" not in caplog.text


class Stuck(ScriptedSource):
    """Closing it fails."""

    def _release(self) -> None:
        super()._release()
        raise OSError(errno.EIO, "Input/output error", "rtsp://a:geheim@cam")


def test_a_connection_that_cannot_be_closed_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sources = [Stuck(frame(0, at_ms=0, pts_ms=0)), Stuck(frame(0, at_ms=500, pts_ms=7))]
    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4)
    with ReconnectingSource(lambda: sources[1], quick, name="played", opened=sources[0]) as source:
        assert [next(source).seq for _ in range(2)] == [0, 2]
    assert [each.released.is_set() for each in sources] == [True, True]
    assert caplog.text.count("played: closing it failed (Input/output error)") == 2
    assert "geheim" not in caplog.text


class Hanging(ScriptedSource):
    """Closing it takes until somebody lets go."""

    def __init__(self, *script: Frame | Exception) -> None:
        super().__init__(*script)
        self.closes, self.let_go = threading.Event(), threading.Event()

    @property
    def damaged(self) -> str | None:
        return "one frame lost"

    def _release(self) -> None:
        self.closes.set()
        assert self.let_go.wait(PATIENCE_S)


def test_why_a_camera_was_lost_is_told_while_closing_it_hangs(caplog: pytest.LogCaptureFixture) -> None:
    lost = Hanging(frame(0, at_ms=0, pts_ms=0), VideoDecodeError("played: the cable came off"))
    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4)
    again = ScriptedSource(frame(0, at_ms=500, pts_ms=7))
    with ReconnectingSource(lambda: again, quick, name="played", opened=lost) as source:
        next(source)
        rest: list[Frame] = []
        reader = threading.Thread(target=lambda: rest.append(next(source)))
        reader.start()
        try:
            assert lost.closes.wait(PATIENCE_S)
            assert (source.connection.state, source.connection.reason) == ("reconnecting", "the cable came off")
            assert source.damaged == "one frame lost"
            assert "played: the cable came off; it is opened again until it is back" in caplog.text
        finally:
            lost.let_go.set()
            reader.join(PATIENCE_S)
        assert [each.seq for each in rest] == [2]


def test_a_connection_is_closed_although_it_is_given_up() -> None:
    lost = ScriptedSource(frame(0, at_ms=0, pts_ms=0), VideoDecodeError("played: the cable came off"))
    options = ReconnectOptions(give_up_s=1e-9)
    source = ReconnectingSource(lambda: lost, options, name="played", opened=lost)
    with pytest.raises(VideoDecodeError, match="given up"):
        list(source)
    assert lost.released.is_set()


@pytest.mark.parametrize("script", [[], [VideoDecodeError("the cable came off")]], ids=["end", "error"])
def test_a_reader_hears_of_the_end_of_a_source_that_cannot_be_closed(script: list[Exception]) -> None:
    buffer = FrameBuffer(BufferOptions(keep="every"))
    reader = threading.Thread(target=_read_all, args=(Stuck(frame(0, at_ms=0, pts_ms=0), *script), buffer, None))
    reader.start()
    reader.join(PATIENCE_S)
    guard = threading.Timer(PATIENCE_S, buffer.stop)
    guard.start()
    assert buffer.take() is not None
    with pytest.raises(type(script[0]) if script else OSError, match="cable came off" if script else "Input/output"):
        buffer.take()
    guard.cancel()


@pytest.mark.parametrize("left", [0, 1], ids=["to look", "for a pipe"])
def test_a_camera_is_lost_while_no_file_can_be_opened(left: int) -> None:
    """Without a descriptor left, as when a program leaks them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, hard))
    try:
        with pytest.raises(VideoDecodeError, match=r"/dev/null: cannot be watched \(Too many open files\).*ulimit -n"):
            DeviceWatch("/dev/null")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    DeviceWatch("/dev/null").close()


def test_an_error_that_does_not_pass_is_not_tried_again() -> None:
    def opener() -> Source:
        raise OptionError("no such codec")

    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4)
    with (
        ReconnectingSource(opener, quick, name="x", opened=ScriptedSource(frame(0, at_ms=0, pts_ms=0))) as source,
        pytest.raises(OptionError, match="no such codec"),
    ):
        list(source)


def test_waits_double_up_to_the_cap_and_are_spread() -> None:
    waits = ReconnectOptions(first_s=0.5, cap_s=10)
    backoff = Backoff(waits, np.random.default_rng(1))
    drawn = [backoff.next_s() for _ in range(2000)]
    for full, wait in zip([0.5, 1, 2, 4, 8, 10, 10], drawn, strict=False):
        assert full / 2 <= wait <= full
    shares = np.array(drawn[5:]) / 10
    assert shares.min() < 0.51
    assert shares.max() > 0.99
    backoff.lasted(drawn[-1] - 0.01)
    assert backoff.next_s() >= 5
    backoff.lasted(10.1)
    assert backoff.next_s() <= 0.5


@pytest.mark.parametrize("pts_ms", [[0, 40, 80, 10, 50, 5, 45], [0, 40, 40, 80]], ids=["back", "equal"])
def test_times_of_one_connection_only_grow(pts_ms: list[int], caplog: pytest.LogCaptureFixture) -> None:
    continuity = Continuity("camera")
    frames = [continuity.follow(frame(i, at_ms=40 * i, pts_ms=pts)) for i, pts in enumerate(pts_ms)]
    times = [item.pts_ns for item in frames]
    assert times == [40 * 10**6 * i for i in range(len(pts_ms))]
    assert [item.motion is None for item in frames] == [False] * len(pts_ms)
    assert len(caplog.records) == 1


def test_a_frame_that_lacks_its_time_gets_one(caplog: pytest.LogCaptureFixture) -> None:
    continuity = Continuity("camera")
    frames = [continuity.follow(frame(i, at_ms=40 * i, pts_ms=pts)) for i, pts in enumerate([0, 40, None, 120])]
    assert [item.pts_ns for item in frames] == [0, 40 * 10**6, 80 * 10**6, 120 * 10**6]
    assert caplog.records == []


def test_frames_without_times_stay_so() -> None:
    continuity = Continuity("camera")
    continuity.follow(frame(0, at_ms=0, pts_ms=None))
    continuity.break_off()
    again = continuity.follow(frame(0, at_ms=40, pts_ms=None))
    assert (again.seq, again.pts_ns) == (2, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_s": 0},
        {"cap_s": float("inf")},
        {"stall_s": -1},
        {"give_up_s": 0},
        {"first_s": 5, "cap_s": 1},
        {"first_opening": "later"},
    ],
    ids=str,
)
def test_impossible_waits_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        ReconnectOptions(**wrong)
