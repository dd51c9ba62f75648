"""Makes pictures for whoever looks: each once, and none while nobody does."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

from edge_vseg.serve.pictures import VIEWS, EncodedView, View
from edge_vseg.serve.recorder import ResultLog, Seen

POLL_S = 0.01
"""How often it looks for a new result while somebody waits for a picture; to be told would cost the frame lane time."""
KEPT = 4
"""Results whose pixels can still be asked for after newer ones were drawn."""


class PictureDesk:
    """Gives the newest picture of a view to any number of viewers; used by the server's loop only.

    Args:
        recorder: Has the newest result.
        draw: Draws and encodes a view.
        executor: Where it is drawn: one thread of low priority.
        fps: Pictures per second and view, at most.
    """

    def __init__(
        self, recorder: ResultLog, draw: Callable[[Seen, View], EncodedView], executor: Executor, fps: float
    ) -> None:
        self.made = 0
        self._recorder = recorder
        self._draw = draw
        self._executor = executor
        self._period_s = 1 / fps
        self._newest: dict[View, EncodedView] = {}
        self._turns = {view: asyncio.Lock() for view in VIEWS}
        self._shown: OrderedDict[int, Seen] = OrderedDict()

    async def newer(self, view: View, after: int) -> EncodedView:
        """A picture of a later result than ``after``, as soon as there is one."""
        while (picture := self._made(view, after)) is None:
            async with self._turns[view]:  # the others wait, and then find the picture
                picture = self._made(view, after) or await self._make(view, after)
            if picture is not None:
                return picture
            await asyncio.sleep(POLL_S)
        return picture

    def shown(self, number: int) -> Seen | None:
        """A result that was drawn a moment ago; ``None`` if that was too long ago."""
        return self._shown.get(number)

    def _made(self, view: View, after: int) -> EncodedView | None:
        """The picture there is, unless it is old and there is a newer result."""
        picture, newest = self._newest.get(view), self._recorder.newest
        if picture is None or newest is None or picture.seen.number <= after:
            return None
        young = time.monotonic() - picture.drawn_s < self._period_s
        return picture if young or picture.seen is newest else None

    async def _make(self, view: View, after: int) -> EncodedView | None:
        newest, last = self._recorder.newest, self._newest.get(view)
        if newest is None or newest.number <= after:
            return None
        if last is not None:
            await asyncio.sleep(max(0.0, last.drawn_s + self._period_s - time.monotonic()))
            newest = self._recorder.newest or newest
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self._executor, self._draw, newest, view)
        self._newest[view] = picture
        self._shown[newest.number] = newest
        while len(self._shown) > KEPT:
            self._shown.popitem(last=False)
        self.made += 1
        return picture
