"""What a frame's capture time says, by the clock of the server that sent it."""

from __future__ import annotations

import threading
import time

import pytest
from rtsp_server import LOOP, RtspServer, encode
from synthetic_video import number_of

from edge_vseg import Frame
from edge_vseg.video import BufferOptions, InputOptions, ReconnectOptions, open_source

FROZEN_S = 2.0
HELD_S = 1.0
PATIENCE_S = 20.0


def sent_s(server: RtspServer, frame: Frame) -> float:
    """When the picture of a frame left the server; asked as soon as the frame is there."""
    return server.sent_s[number_of(frame.image) % LOOP]


@pytest.mark.parametrize("stall_s", [10 * FROZEN_S, FROZEN_S / 4], ids=["waited for", "given up"])
def test_a_picture_from_before_a_silence_has_its_age(stall_s: float) -> None:
    """FFmpeg holds the last picture until the next one begins, or the stream ends."""
    options = InputOptions(reconnect=ReconnectOptions(first_s=0.02, cap_s=0.1, stall_s=stall_s))
    with RtspServer(pictures=encode((64, 96))) as server, open_source(server.address, input_options=options) as source:
        guard = threading.Timer(PATIENCE_S, source.close)
        guard.start()
        for _ in range(10):
            next(source)
        server.frozen.set()
        frozen_s = time.monotonic()
        threading.Timer(FROZEN_S, server.frozen.clear).start()
        held: list[Frame] = []
        while True:
            frame = next(source)
            age_s = frame.capture_ns / 1e9 - sent_s(server, frame)
            assert age_s < FROZEN_S / 8, "it says that it is younger than it is"
            if time.monotonic() - frozen_s > FROZEN_S and sent_s(server, frame) > frozen_s + FROZEN_S:
                break
            if time.monotonic() - frozen_s > min(stall_s, FROZEN_S) * 0.9:
                held.append(frame)
        guard.cancel()
    assert held, "the picture that was held came after the silence"


def test_pictures_that_waited_in_the_network_have_their_age() -> None:
    """They arrive together; when each was captured is told by the stream's own time stamps."""
    options = InputOptions(buffer=BufferOptions(keep="every", frames=64))
    pictures = encode((64, 96))
    with (
        RtspServer(pictures=pictures, period_s=0.04) as server,
        open_source(server.address, input_options=options) as source,
    ):
        guard = threading.Timer(PATIENCE_S, source.close)
        guard.start()
        for _ in range(10):
            next(source)
        server.held.set()
        threading.Timer(HELD_S, server.held.clear).start()
        begin_s = time.monotonic()
        waited = []
        while time.monotonic() < begin_s + HELD_S + 0.3:
            frame = next(source)
            arrived_s = time.monotonic()
            if arrived_s > begin_s + 0.9 * HELD_S and frame.capture_ns / 1e9 < begin_s + HELD_S - 0.2:
                waited.append(arrived_s - frame.capture_ns / 1e9)
            # Sent once in 32 pictures, which is longer than any waits here.
            assert abs(frame.capture_ns / 1e9 - sent_s(server, frame)) < HELD_S / 4
        guard.cancel()
    assert max(waited, default=0.0) > HELD_S / 2, "some of them were captured long before they arrived"
