"""What the server keeps of each camera: its pipeline, the pictures that were drawn of it, and its state as JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import msgspec

from edge_vseg.serve.live import LivePipeline
from edge_vseg.serve.machine_meter import MachineMeter
from edge_vseg.serve.picture_desk import PictureDesk
from edge_vseg.serve.pictures import View, draw_picture, views_of
from edge_vseg.serve.state import STATE_YOUNG_S, describe_state

DEFAULT_NAME = "camera"
"""What a camera that is the only one is called in metrics."""


class ServedCamera:
    """One of the cameras of a server; used by the server's loop only.

    Attributes:
        name: Its name.
        live: Its pipeline.
        views: What can be drawn of it.
        desk: Has its pictures.

    Args:
        name: Its name.
        live: Its pipeline.
        executor: Where pictures are drawn.
        picture_fps: Pictures per second and view, at most.
    """

    def __init__(self, name: str, live: LivePipeline, executor: Executor, picture_fps: float) -> None:
        self.name = name
        self.live = live
        self.views: tuple[View, ...] = views_of(live.head)
        self.desk = PictureDesk(
            live.recorder, lambda seen, view: draw_picture(seen, view, live.labels), executor, picture_fps
        )
        self._state, self._state_s = "", -math.inf

    def state(self, machine: MachineMeter, states: Callable[[], Mapping[str, str]]) -> str:
        """Its state as JSON; the same for all who ask within a moment.

        Args:
            machine: What the machine does.
            states: State of the health of all cameras.
        """
        now_s = time.monotonic()
        if now_s - self._state_s > STATE_YOUNG_S:
            described = describe_state(self.live, machine.newest) | {"cameras": dict(states())}
            self._state = msgspec.json.encode(described).decode()
            self._state_s = now_s
        return self._state
