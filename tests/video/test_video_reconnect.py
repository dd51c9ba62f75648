"""Live sources that are lost and come back, over real sockets of this machine."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer, encode

from edge_vseg.errors import OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, InputOptions, ReconnectOptions, Source, open_source
from edge_vseg.video.cameras.device_watch import DeviceWatch
from edge_vseg.video.continuity import Continuity
from edge_vseg.video.frame_buffer import FrameBuffer
from edge_vseg.video.live import _read_all
from edge_vseg.video.reconnect import Backoff, ReconnectingSource

PATIENCE_S = 20.0
KINDS = {"rtsp": RtspServer, "mjpeg": MjpegServer}
PICTURES: dict[tuple[tuple[int, int], str], list[list[bytes]]] = {}

both = pytest.mark.parametrize("kind", KINDS)


def serve(kind: str, *, port: int = 0, size_hw: tuple[int, int] = (64, 96), pix_fmt: str = "yuv420p") -> Any:
    if kind == "mjpeg":
        return MjpegServer(port=port, size_hw=size_hw)
    key = (size_hw, pix_fmt)
    if key not in PICTURES:
        PICTURES[key] = encode(size_hw, pix_fmt)
    return RtspServer(port=port, pictures=PICTURES[key])


def options(**changes: Any) -> InputOptions:
    quick: dict[str, Any] = {"first_s": 0.02, "cap_s": 0.1, "stall_s": 0.6}
    return InputOptions(timeout_s=5.0, reconnect=ReconnectOptions(**quick | changes))


@contextmanager
def opened(address: str, **changes: Any) -> Iterator[Source]:
    """Open a source; if a test waits too long, it is closed, and the next read raises StopIteration."""
    with open_source(address, input_options=options(**changes)) as source:
        guard = threading.Timer(PATIENCE_S, source.close)
        guard.start()
        try:
            yield source
        finally:
            guard.cancel()
            guard.join()


def until(source: Source, wanted: Callable[[Frame], bool]) -> list[Frame]:
    """Read until a frame is as wanted."""
    frames = [next(source)]
    while not wanted(frames[-1]):
        frames.append(next(source))
    return frames


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_continues(frames: list[Frame]) -> None:
    """Numbers and times of all frames grow."""
    for before, after in itertools.pairwise(frames):
        assert after.seq > before.seq
        assert after.capture_ns >= before.capture_ns
        assert before.pts_ns is not None
        assert after.pts_ns is not None
        assert after.pts_ns > before.pts_ns


@both
def test_a_connection_that_is_cut_is_opened_again(kind: str) -> None:
    with serve(kind) as server, opened(server.address) as source:
        frames = [next(source) for _ in range(3)]
        assert source.connection.state == "connected"
        for cuts in range(1, 4):
            server.cut()
            frames += until(source, lambda _, cuts=cuts: source.connection.reconnects == cuts)  # type: ignore[misc]
        frames += [next(source) for _ in range(3)]
        assert_continues(frames)
        assert source.connection.state == "connected"
        assert source.connection.reason == ""
        counts = source.counts
        assert counts.read == len(frames)
        assert counts.captured == counts.dropped + counts.waiting + counts.read


@both
def test_a_server_that_restarts_with_another_size(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with opened_after_restart(kind, size_hw=(96, 128)) as (source, frames):
        frames += until(source, lambda frame: frame.image.shape == (96, 128, 3))
        assert frames[0].image.shape == (64, 96, 3)
        assert_continues(frames)
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, "one line for the loss and one for the return, however many attempts there were"
    assert "opened again until it is back" in said[0]
    assert "it is back after" in said[1]


def test_a_server_that_restarts_with_another_colour_format() -> None:
    with opened_after_restart("rtsp", pix_fmt="yuv444p") as (source, frames):
        frames += until(source, lambda _: source.connection.reconnects == 1)
        assert_continues(frames)
        # 4:4:4 or 4:2:0, grey stripes stay what they are.
        assert abs(int(frames[-1].image.mean()) - int(frames[-1].image[..., 0].mean())) < 3


@contextmanager
def opened_after_restart(kind: str, **changes: Any) -> Iterator[tuple[Source, list[Frame]]]:
    """A source whose server died, was away for some refused attempts, and came back on the same port."""
    first = serve(kind)
    with first, opened(first.address) as source:
        frames = [next(source) for _ in range(3)]
        first.close()
        wait_until(lambda: "refused" in source.connection.reason)
        assert source.connection.state == "reconnecting"
        assert source.connection.since_ns > frames[0].capture_ns
        with serve(kind, port=first.port, **changes):
            yield source, frames


@both
def test_a_frozen_server_is_given_up_after_the_stall_time(kind: str) -> None:
    with serve(kind) as server, opened(server.address, stall_s=0.3) as source:
        frames = [next(source) for _ in range(3)]
        server.frozen.set()
        wait_until(lambda: source.connection.state == "reconnecting")
        assert "0.3 s" in source.connection.reason or "no answer" in source.connection.reason
        server.frozen.clear()
        frames += until(source, lambda _: source.connection.reconnects >= 1)
        assert_continues(frames)


def test_a_stream_that_was_given_up_leaves_no_decoder_behind() -> None:
    """Without the garbage collector, which may not come by for an hour."""
    with serve("rtsp") as server, opened(server.address, stall_s=0.3) as source:
        until(source, lambda _: True)
        gc.collect()
        gc.disable()
        try:
            before = _native_threads()
            for number in (1, 2, 3):
                server.frozen.set()
                wait_until(lambda: source.connection.state == "reconnecting")
                server.frozen.clear()
                until(source, lambda _, number=number: source.connection.reconnects >= number)
            wait_until(lambda: _native_threads() <= before)
        finally:
            gc.enable()


def _native_threads() -> int:
    own = {str(thread.native_id) for thread in threading.enumerate()}
    return len({task.name for task in Path("/proc/self/task").iterdir()} - own)


def test_packets_without_a_picture_are_a_stall() -> None:
    """Bytes keep coming, so no read times out; but nothing can be seen."""
    with serve("rtsp") as server, opened(server.address, stall_s=0.4) as source:
        next(source)
        server.blank.set()
        wait_until(lambda: source.connection.state == "reconnecting")
        assert "no frame for 0.4 s" in source.connection.reason
        server.blank.clear()
        until(source, lambda _: source.connection.reconnects == 1)


def test_the_first_opening_raises_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(VideoNotFoundError, match="refused"):
        open_source(f"rtsp://127.0.0.1:{port}/camera", input_options=options())


@both
def test_the_first_opening_can_wait(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    scheme = "http" if kind == "mjpeg" else kind
    with opened(f"{scheme}://127.0.0.1:{port}/camera", first_opening="wait") as source:
        wait_until(lambda: "refused" in source.connection.reason)
        with serve(kind, port=port):
            next(source)  # not always the first one: a busy machine drops some
            assert source.connection.state == "connected"
            assert source.connection.reconnects == 0


def test_a_camera_that_is_not_connected_yet_can_be_waited_for() -> None:
    with opened("/dev/video97", first_opening="wait") as source:
        wait_until(lambda: "there is no camera /dev/video97" in source.connection.reason)
        assert source.connection.state == "reconnecting"


@both
def test_it_gives_up_in_the_end(kind: str) -> None:
    with serve(kind) as server, opened(server.address, give_up_s=0.3) as source:
        next(source)
        server.close()
        with pytest.raises(VideoDecodeError, match=r"given up after .* s without a frame.*give_up_s"):
            until(source, lambda _: False)
        assert source.connection.state == "ended"
        assert "given up" in source.connection.reason


def test_without_reconnect_a_lost_stream_is_an_error_or_an_end() -> None:
    with serve("rtsp") as server:
        plain = InputOptions(reconnect=None)
        with open_source(server.address, input_options=plain) as source:
            next(source)
            server.cut()
            with pytest.raises((VideoDecodeError, StopIteration)):
                until(source, lambda _: False)
            assert source.connection.state == "ended"


def test_time_stamps_that_go_back_are_counted_on(caplog: pytest.LogCaptureFixture) -> None:
    with serve("rtsp") as server, opened(server.address) as source:
        frames = [next(source) for _ in range(3)]
        for _ in range(3):
            sent = server.sent
            server.set_back_ticks = 10 * 90_000
            frames += until(source, lambda _, sent=sent: server.sent > sent + 4)  # type: ignore[misc]
        assert_continues(frames)
    said = [record for record in caplog.records if "time stamps go back" in record.message]
    assert len(said) == 1


def test_credentials_are_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve("rtsp") as server:
        secret = server.address.replace("rtsp://", "rtsp://admin:hunter2@") + "?token=hunter2"
        with opened(secret) as source:
            next(source)
            server.close()
            wait_until(lambda: "refused" in source.connection.reason)
            told = [source.name, source.connection.reason, repr(source.connection), *_threads()]
    told += [record.getMessage() for record in caplog.records]
    assert len(told) > 4
    assert [line for line in told if "hunter2" in line] == []


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _sockets() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            found.append(str(entry.readlink()))
    return sorted(found)


@both
def test_dozens_of_reconnects_leave_no_thread_and_no_descriptor(kind: str) -> None:
    with serve(kind) as server:
        with opened(server.address, first_s=0.001, cap_s=0.002) as source:
            next(source)
            for cuts in range(1, 31):
                server.cut()
                until(source, lambda _, cuts=cuts: source.connection.reconnects >= cuts)  # type: ignore[misc]
            ours = [name for name in _threads() if name.startswith("read ")]
            assert len(ours) == 1
            # The server's ends of old connections close when its threads notice; ours are closed by then.
            wait_until(lambda: _established(server.port) == 1)
        wait_until(lambda: _established(server.port) == 0)
        wait_until(lambda: not [name for name in _threads() if name.startswith("read ")])


def _established(port: int) -> int:
    """Sockets of this process whose other end is the server's port."""
    inodes = {entry[8:-1] for entry in _sockets() if entry.startswith("socket:[")}
    rows = (line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:])
    return sum(1 for row in rows if row[9] in inodes and row[2].endswith(f":{port:04X}"))


@both
def test_closing_a_frozen_source_ends_its_thread(kind: str) -> None:
    with serve(kind) as server, opened(server.address, stall_s=0.3) as source:
        next(source)
        server.frozen.set()
        started = time.monotonic()
        source.close()
        assert time.monotonic() - started < PATIENCE_S
        wait_until(lambda: not [name for name in _threads() if name.startswith("read ")])
        wait_until(lambda: _established(server.port) == 0)
        assert source.connection.state == "ended"


def test_closing_ends_a_blocked_read_and_the_wait_for_the_next_attempt() -> None:
    with serve("mjpeg") as server, opened(server.address, first_s=60, cap_s=60) as source:
        next(source)
        server.close()
        wait_until(lambda: source.connection.state == "reconnecting")
        ended = threading.Event()

        def read() -> None:
            list(source)
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        source.close()
        assert ended.wait(PATIENCE_S)
        reader.join()
    assert not [name for name in _threads() if name.startswith("read ")]


class Played(Source):
    """Frames of one connection, then its end or an error."""

    def __init__(self, *script: Frame | Exception) -> None:
        super().__init__(name="played")
        self.script = iter(script)
        self.closed = False

    @property
    def fps(self) -> float | None:
        return 25.0

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        item = next(self.script, None)
        if isinstance(item, Exception):
            raise item
        return item

    def _release(self) -> None:
        self.closed = True


def frame(seq: int, *, at_ms: int, pts_ms: int | None, moves: bool = True) -> Frame:
    motion = np.ones((1, 1, 2), np.float32) if moves else None
    pts_ns = None if pts_ms is None else pts_ms * 10**6
    image = np.zeros((8, 8, 3), np.uint8)
    return Frame(image=image, seq=seq, capture_ns=at_ms * 10**6, pts_ns=pts_ns, motion=motion)


def test_numbers_times_and_motion_over_connections() -> None:
    sources = [
        Played(frame(0, at_ms=0, pts_ms=0), frame(2, at_ms=80, pts_ms=80), VideoDecodeError("the cable came off")),
        Played(),
        Played(frame(0, at_ms=500, pts_ms=7), frame(1, at_ms=540, pts_ms=47)),
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
        assert [item.closed for item in sources] == [True, True, False]
    assert sources[2].closed


@pytest.mark.parametrize("fault", [OSError(errno.EMFILE, "Too many open files", "rtsp://a:geheim@cam"), TimeoutError()])
def test_an_error_of_the_system_passes(fault: OSError, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    openings = iter([fault, Played(frame(0, at_ms=500, pts_ms=7))])

    def opener() -> Source:
        item = next(openings)
        if isinstance(item, Exception):
            told.append(source.connection.reason)
            raise item
        told.append(source.connection.reason)
        return item

    told: list[str] = []
    quick = ReconnectOptions(first_s=1e-4, cap_s=1e-4)
    lost = Played(frame(0, at_ms=0, pts_ms=0), fault)
    with ReconnectingSource(opener, quick, name="played", opened=lost) as source:
        assert [next(source).seq for _ in range(2)] == [0, 2]
    assert told == [fault.strerror or "TimeoutError"] * 2
    assert "geheim" not in caplog.text


class Stuck(Played):
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
    assert [each.closed for each in sources] == [True, True]
    assert caplog.text.count("played: closing it failed (Input/output error)") == 2
    assert "geheim" not in caplog.text


class Hanging(Played):
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
    again = Played(frame(0, at_ms=500, pts_ms=7))
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
    lost = Played(frame(0, at_ms=0, pts_ms=0), VideoDecodeError("played: the cable came off"))
    options = ReconnectOptions(give_up_s=1e-9)
    source = ReconnectingSource(lambda: lost, options, name="played", opened=lost)
    with pytest.raises(VideoDecodeError, match="given up"):
        list(source)
    assert lost.closed


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
        ReconnectingSource(opener, quick, name="x", opened=Played(frame(0, at_ms=0, pts_ms=0))) as source,
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
