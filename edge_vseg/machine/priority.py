"""Lower the priority of a thread, so that what need not be done at once waits for what must."""

from __future__ import annotations

import contextlib
import os
import threading


def lower_priority(niceness: int) -> None:
    """Let the calling thread, and the threads that it starts, go after the others.

    Linux counts niceness by thread; elsewhere it would lower the whole process, so nothing is done there.

    Args:
        niceness: 1 to 19; 19 goes last.
    """
    if hasattr(os, "sched_getaffinity"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
