"""Tell systemd how a service is: when it is ready, what it does, and that it is alive.

The protocol is that of sd_notify(3) and sd_watchdog_enabled(3): lines in a datagram to the socket that the variable
``NOTIFY_SOCKET`` names. Without the variable nothing is done.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, TypeAlias

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the state is looked at, at least."""
STATUS_S = 5.0
"""How often a status that only tells new figures is sent, at most."""
SEND_S = 1.0
"""How long a datagram may wait for a manager that is busy."""
_JOIN_S = 2 * SEND_S
_MAX_STATUS = 500
_DIGITS = re.compile(r"\d+")

Pulse: TypeAlias = Literal["starting", "alive", "silent", "failed"]
"""``starting`` until the service does its work; then whether the watchdog hears of it; ``failed`` is for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSign:
    """How a service is at one moment.

    Attributes:
        pulse: What the watchdog is told.
        status: One line for people, as ``systemctl status`` shows it.
    """

    pulse: Pulse
    status: str


class ServiceManager:
    """The socket of the service manager.

    Args:
        address: Path of the socket, or its abstract name behind ``@``.
    """

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SEND_S)
        self._complained = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServiceManager | None:
        """The manager that started this process; ``None`` if none did, or if it is not on this machine."""
        address = environment.get("NOTIFY_SOCKET", "")
        return cls(address) if address.startswith(("/", "@")) else None

    def tell(self, *lines: str) -> None:
        """Send lines such as ``READY=1``; a manager that does not listen is reported once."""
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as exc:
            if not self._complained:
                log.warning("the service manager does not listen: %s", exc)
            self._complained = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which the service manager wants to hear of this process; ``None`` if it does not watch it."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


class ServiceWatch:
    """Looks at a service from a thread, and tells the manager; use it with ``with``.

    ``READY=1`` is sent once, at the first pulse that is ``alive`` or ``silent``. While it is ``alive``, ``WATCHDOG=1``
    is sent in every half of the watchdog's time. ``failed`` asks for the watchdog's action at once: more waiting would
    cure nothing.

    Args:
        manager: The service manager; closed at the end.
        look: Gives the state; called from the thread.
        limit_s: The watchdog's time; ``None`` if there is no watchdog.
        clock: Seconds.
    """

    def __init__(
        self,
        manager: ServiceManager,
        look: Callable[[], ServiceSign],
        limit_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._look = look
        self._ping_s = None if limit_s is None else limit_s / 2
        self._clock = clock
        self._ready = self._triggered = False
        self._pinged_s = self._told_s = float("-inf")
        self._told = ServiceSign(pulse="starting", status="")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-vseg-service", daemon=True)

    def tell(self) -> None:
        """Look once, and send what is due."""
        sign, now_s = self._look(), self._clock()
        lines = []
        if not self._ready and sign.pulse in ("alive", "silent"):
            self._ready = True
            lines.append("READY=1")
        if self._has_news(sign, now_s):
            self._told, self._told_s = sign, now_s
            lines.append(f"STATUS={' '.join(sign.status.split())[:_MAX_STATUS]}")
        if self._ping_s is not None:
            if sign.pulse == "alive" and now_s - self._pinged_s >= self._ping_s:
                self._pinged_s = now_s
                lines.append("WATCHDOG=1")
            if sign.pulse == "failed" and not self._triggered:
                self._triggered = True
                lines.append("WATCHDOG=trigger")
        if lines:
            self._manager.tell(*lines)

    def _has_news(self, sign: ServiceSign, now_s: float) -> bool:
        told = self._told.status
        if _DIGITS.sub("", sign.status) != _DIGITS.sub("", told):
            return True
        return sign.status != told and now_s - self._told_s >= STATUS_S

    def _run(self) -> None:
        pause_s = LOOK_S if self._ping_s is None else min(LOOK_S, self._ping_s / 4)
        while not self._stop.wait(pause_s):
            try:
                self.tell()
            except Exception:  # without a look there is no ping, and the watchdog takes over
                log.exception("the state of the service cannot be told")

    def __enter__(self) -> ServiceWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)
        self._manager.tell("STOPPING=1", "STATUS=stopping")
        self._manager.close()


def watched(look: Callable[[], ServiceSign]) -> AbstractContextManager[object]:
    """Tell the service manager of this process how it is, if there is one, until the block ends."""
    manager = ServiceManager.from_environment()
    if manager is None:
        return contextlib.nullcontext()
    return ServiceWatch(manager, look, watchdog_s())
