"""Live reading: the newest frame, gaps for what was lost, and a thread that always ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from scripted_source import PATIENCE_S, ScriptedSource
from synthetic_video import numbered, write_video

from edge_vseg.errors import NoFramesError, OptionError, VideoDecodeError
from edge_vseg.types import Frame
from edge_vseg.video import FrameCounts, open_source
from edge_vseg.video.live import LatestSource, Pacer


def frame(seq: int, pts_ns: int | None = None) -> Frame:
    return Frame(image=np.zeros((2, 2, 3), np.uint8), seq=seq, capture_ns=0, pts_ns=pts_ns, source_name="script")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_slow_reader_gets_the_newest_frame(gate):
    second = threading.Event()
    script = ScriptedSource(*(frame(seq) for seq in range(5)), gate, *(frame(seq) for seq in range(5, 9)), second)
    with LatestSource(script) as source:
        assert script.reached_gate.wait(PATIENCE_S)
        assert next(source).seq == 4
        script.reached_gate.clear()
        gate.set()
        assert script.reached_gate.wait(PATIENCE_S)
        assert next(source).seq == 8
        second.set()
        assert list(source) == []
    assert script.released.wait(PATIENCE_S)


def test_every_frame_is_accounted_for(gate):
    script = ScriptedSource(*(frame(seq) for seq in range(5)), gate, *(frame(seq) for seq in range(5, 9)))
    with LatestSource(script) as source:
        assert script.reached_gate.wait(PATIENCE_S)
        assert source.counts == FrameCounts(captured=5, dropped=4, waiting=1, read=0)
        next(source)
        assert source.counts == FrameCounts(captured=5, dropped=4, waiting=0, read=1)
        assert source.connection.state == "connected"
        gate.set()
        assert script.released.wait(PATIENCE_S)
        assert [item.seq for item in source] == [8]
        assert source.counts == FrameCounts(captured=9, dropped=7, waiting=0, read=2)
        assert source.connection.state == "ended"


def test_a_fast_reader_waits_and_gets_every_frame_once():
    gates = [threading.Event() for _ in range(6)]
    script = ScriptedSource(*(item for seq, event in enumerate(gates) for item in (event, frame(seq))))
    with LatestSource(script) as source:
        seqs = []
        for event in gates:
            event.set()
            seqs.append(next(source).seq)
        assert list(source) == []
    assert seqs == [0, 1, 2, 3, 4, 5]


def test_the_last_frame_comes_before_the_error(gate):
    script = ScriptedSource(frame(0), frame(1), VideoDecodeError("the cable came off"))
    with LatestSource(script) as source:
        assert script.released.wait(PATIENCE_S)
        assert next(source).seq == 1
        with pytest.raises(VideoDecodeError, match="the cable came off"):
            next(source)
        assert list(source) == []


def test_an_unexpected_error_reaches_the_reader():
    with LatestSource(ScriptedSource(ZeroDivisionError("a bug"))) as source, pytest.raises(ZeroDivisionError):
        next(source)


def test_a_source_without_frames():
    with LatestSource(ScriptedSource()) as source, pytest.raises(NoFramesError):
        next(source)


def test_closing_wakes_a_waiting_reader(gate):
    script = ScriptedSource(gate)
    source = LatestSource(script)
    seen: list[list[Frame]] = []
    reader = threading.Thread(target=lambda: seen.append(list(source)))
    reader.start()
    assert script.reached_gate.wait(PATIENCE_S)
    threading.Timer(0.05, gate.set).start()
    source.close()
    source.close()
    reader.join(PATIENCE_S)
    assert seen == [[]]
    assert script.released.wait(PATIENCE_S)


def test_max_frames_counts_the_frames_given_out(gate):
    script = ScriptedSource(*(frame(seq) for seq in range(5)), gate, *(frame(seq) for seq in range(5, 9)))
    with LatestSource(script).limit(1) as source:
        assert script.reached_gate.wait(PATIENCE_S)
        assert [item.seq for item in source] == [4]
        gate.set()


def test_live_source_properties():
    with LatestSource(ScriptedSource(frame(0))) as source:
        assert (source.name, source.fps, source.is_live, source.frame_count) == ("script", 25.0, True, None)


def test_the_pacer_delays_until_the_frame_is_due():
    now = [1_000]
    pacer = Pacer(clock=lambda: now[0])
    second = 10**9
    assert pacer.delay_s(frame(0, 2 * second)) == 0
    assert pacer.delay_s(frame(1, 3 * second)) == 1
    now[0] += second // 4
    assert pacer.delay_s(frame(1, 3 * second)) == 0.75
    now[0] += 5 * second
    assert pacer.delay_s(frame(2, 4 * second)) == 0


def test_the_pacer_needs_times():
    with pytest.raises(OptionError, match="set image_fps"):
        Pacer().delay_s(frame(0))


def test_a_recording_can_be_played_live(tmp_path):
    """Ten frames in half a second; the reader looks away until they are over."""
    path = write_video(tmp_path / "clip.mp4", [numbered(i) for i in range(10)], fps=20)
    with open_source(path, live=True) as source:
        assert source.is_live
        first = next(source)
        deadline = time.monotonic() + PATIENCE_S
        while any(thread.name == f"read {path}" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rest = list(source)
    assert [item.seq for item in rest] == [9]
    # It was released when it was due, not when it was decoded.
    assert rest[0].capture_ns - first.capture_ns >= 0.9 * (rest[0].pts_ns - first.pts_ns)


def test_images_need_a_rate_to_be_played_live(tmp_path):
    (tmp_path / "1.ppm").write_bytes(b"P6 1 1 255\n\x01\x02\x03")
    with pytest.raises(OptionError, match=r"set image_fps.*open_source\(folder, live=True, image_fps=10\)"):
        open_source(tmp_path, live=True)
    with open_source(tmp_path, live=True, image_fps=30) as source:
        assert [item.image.tolist() for item in source] == [[[[3, 2, 1]]]]


def test_threads_end_with_their_sources():
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("read ")]
