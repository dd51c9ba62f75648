"""Messages to a node, and what it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from reference_bundle import SIZE_HW
from running_node import LocalTransport, Running

from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image

PICTURE = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)


def eventually(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)
    return found


def values_of(status: ros.DiagnosticStatus) -> dict[str, str]:
    return {each.key: each.value for each in status.values}


def message_of(picture: np.ndarray = PICTURE, sec: int = 1, encoding: str = "bgr8") -> ros.Image:
    return raw_image(picture, encoding, ros.Header(stamp=ros.Time(sec=sec, nanosec=9), frame_id="front"))


def segment_one(start: Callable[..., Running], transport: LocalTransport, **options: Any) -> Running:
    running = start(transport, max_frames=1, **options)
    running.send(message_of())
    running.join()
    assert running.error is None
    return running
