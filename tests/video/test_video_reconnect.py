"""Live sources that are lost and come back, over real sockets of this machine."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mjpeg_server import MjpegServer
from rtsp_server import RtspServer, encode
from synthetic_video import numbered, write_video

from edge_vseg.errors import OptionError, VideoDecodeError, VideoNotFoundError
from edge_vseg.types import Frame
from edge_vseg.video import BufferOptions, InputOptions, ReconnectOptions, Source, open_source

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


def test_a_camera_that_returns_with_a_codec_without_vectors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Frames go on without motion, of which the engine makes optical flow; at the first opening it is refused."""
    pictures = [numbered(number) for number in range(12)]
    clips = [
        write_video(tmp_path / f"{codec}.mkv", pictures, codec=codec, pix_fmt=pix_fmt)
        for codec, pix_fmt in (("mpeg4", "yuv420p"), ("mjpeg", "yuvj420p"))
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play() -> None:
            with contextlib.suppress(OSError):  # until the listener is closed
                for path in itertools.chain(clips, itertools.repeat(clips[1])):
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        client.sendall(path.read_bytes())

        threading.Thread(target=play, daemon=True).start()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        how = InputOptions(
            buffer=BufferOptions(keep="every"), reconnect=ReconnectOptions(first_s=0.02, cap_s=0.1), timeout_s=2.0
        )
        with open_source(address, codec_motion=True, input_options=how) as source:
            guard = threading.Timer(PATIENCE_S, source.close)
            guard.start()
            frames = until(source, lambda _: source.connection.reconnects == 1)
            guard.cancel()
        with pytest.raises(OptionError, match="codec mjpeg exports no motion vectors"):
            open_source(address, codec_motion=True, input_options=how)
        listener.shutdown(socket.SHUT_RDWR)
    assert any(frame.motion is not None for frame in frames)
    assert frames[-1].motion is None
    assert_continues(frames)
    assert "mjpeg exports no motion vectors" in caplog.text
    assert "it goes on without them" in caplog.text


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
