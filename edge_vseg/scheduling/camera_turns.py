"""A camera's part of the turns of a background lane that several cameras share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_vseg.scheduling.background_turns import BackgroundTurns

if TYPE_CHECKING:
    from edge_vseg.scheduling.shared_background import SharedBackground


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cores:
    """As :meth:`BackgroundTurns.share_cores` takes them."""

    allowed: float
    frame_lane: float
    background: float


class CameraTurns(BackgroundTurns):
    """A camera's part of the turns of a shared lane: together they are in a frame while any of them is."""

    def __init__(self, shared: SharedBackground) -> None:
        super().__init__(beside_frames=shared.turns.beside_frames, clock=shared.turns.clock)
        self._shared = shared
        self._next_ns: int | None = None
        self._cores: _Cores | None = None
        self.in_frame = False

    def share_cores(self, *, allowed: float, frame_lane: float, background: float) -> None:
        """See :class:`BackgroundTurns`."""
        self._cores = _Cores(allowed=allowed, frame_lane=frame_lane, background=background)

    def begin_frame(self) -> None:
        """See :class:`BackgroundTurns`."""
        self.in_frame = True
        self._shared.turns.begin_frame()

    def end_frame(self, next_arrival_ns: int | None) -> None:
        """See :class:`BackgroundTurns`."""
        self.in_frame, self._next_ns = False, next_arrival_ns
        self._shared.end_promise(self)
        self._pass_on()

    def leave(self) -> None:
        """The camera takes part no longer."""
        self.in_frame = False
        self._pass_on()

    @contextlib.contextmanager
    def awaited(self) -> Iterator[None]:
        """See :class:`BackgroundTurns`."""
        with self._shared.turns.awaited():
            yield

    def rests(self, now_ns: int, slack_ns: float) -> bool:
        """See :class:`BackgroundTurns`."""
        return self._shared.turns.rests(now_ns, slack_ns)

    def rest_ms(self, worked_ms: float) -> float:
        """See :class:`BackgroundTurns`."""
        return self._shared.turns.rest_ms(worked_ms)

    def _pass_on(self) -> None:
        turns = [camera.turns for camera in self._shared.cameras]
        shared = self._shared.turns
        # The frame lanes of all take their part of the machine before the background does.
        told = [each._cores for each in turns if each._cores is not None]
        if told:
            shared.share_cores(
                allowed=min(each.allowed for each in told),
                frame_lane=sum(each.frame_lane for each in told),
                background=max(each.background for each in told),
            )
        if not any(each.in_frame for each in turns):
            expected = [each._next_ns for each in turns if each._next_ns is not None]
            shared.end_frame(min(expected, default=None))
