"""The other end of NOTIFY_SOCKET: what systemd would hear of a service."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    at_s: float
    lines: list[str]


class FakeManager:
    """A datagram socket at a path, or at an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.heard: list[Heard] = []

    @classmethod
    def at(cls, folder: Path) -> FakeManager:
        return cls(str(folder / "notify"))

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """What systemd would start the service with; nobody knows its number yet, so there is no WATCHDOG_PID."""
        kept = {name: value for name, value in os.environ.items() if name not in ("WATCHDOG_PID", "WATCHDOG_USEC")}
        if watchdog_s is not None:
            kept["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
        return kept | {"NOTIFY_SOCKET": self.address}

    def lines(self) -> list[str]:
        """All lines so far."""
        self.listen_for(0.0)
        return [line for heard in self.heard for line in heard.lines]

    def times_s(self, line: str) -> list[float]:
        """When a line was heard, ``time.monotonic()``."""
        return [heard.at_s for heard in self.heard if line in heard.lines]

    def listen_for(self, seconds: float) -> None:
        self.listen_until(lambda: False, seconds)

    def listen_until(self, done: Callable[[], bool], seconds: float = PATIENCE_S) -> bool:
        """Listen until something is so; whether it was in time."""
        until_s = time.monotonic() + seconds
        while not done():
            self._socket.settimeout(max(0.001, min(0.2, until_s - time.monotonic())))
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                if time.monotonic() >= until_s:
                    return done()
                continue
            self.heard.append(Heard(at_s=time.monotonic(), lines=text.split("\n")))
        return True

    def close(self) -> None:
        self._socket.close()
