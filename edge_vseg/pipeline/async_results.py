"""Wait for results in an asyncio loop, without a thread and without polling."""

from __future__ import annotations

import asyncio
import contextlib

from edge_vseg.pipeline.board import Accept, Posted, ResultBoard


async def wait_for_result(board: ResultBoard, accept: Accept, timeout_s: float | None) -> Posted | None:
    """What :meth:`ResultBoard.wait` does, for the running loop."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(changed.set)

    async def found() -> Posted:
        while (posted := board.peek(accept)) is None:
            await changed.wait()
            changed.clear()
        return posted

    with board.listening(wake):
        try:
            return await asyncio.wait_for(found(), timeout_s)
        except asyncio.TimeoutError:
            return None
