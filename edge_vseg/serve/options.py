"""Where the server listens, to whom it answers, and how much it may do."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_vseg.errors import OptionError

Changes: TypeAlias = Literal["allowed", "refused"]
"""Whether whoever sees the page may change the schedule."""

MIN_TOKEN = 16
"""Characters of a token: shorter ones can be guessed over a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Options of the server.

    Attributes:
        host: Address to listen on. Anything but a loopback address needs a token.
        port: Port to listen on; 0 takes a free one.
        token: What clients must show; empty to ask for nothing, on loopback only.
        names: Other names of this machine under which a browser may ask, such as that of a proxy. On loopback any other
            name is refused: a page from elsewhere could have it resolve to this machine (DNS rebinding).
        changes: Whether clients may change the schedule.
        picture_fps: Pictures per second and view, at most.
        max_viewers: Pages that may be open at a time.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""
    names: tuple[str, ...] = ()
    changes: Changes = "allowed"
    picture_fps: float = 15.0
    max_viewers: int = 8

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range, or others could reach the server without a token."""
        if not 0 <= self.port <= 65535:
            raise OptionError(f"the port must be from 0 to 65535, got {self.port}; 0 takes a free one")
        if self.changes not in ("allowed", "refused"):
            raise OptionError(f"changes must be 'allowed' or 'refused', got {self.changes!r}")
        if not 0 < self.picture_fps <= 60:
            raise OptionError(f"picture_fps must be above 0 and at most 60, got {self.picture_fps}")
        if self.max_viewers < 1:
            raise OptionError(f"max_viewers must be 1 or more, got {self.max_viewers}")
        if self.token and (len(self.token) < MIN_TOKEN or not self.token.isascii() or not self.token.isprintable()):
            raise OptionError(
                f"a token needs {MIN_TOKEN} or more printable ASCII characters; `--token ''` makes one up"
            )
        if not self.token and not is_loopback(self.host):
            raise OptionError(
                f"others can reach {self.host}, see the camera and change the schedule; give a token (`--token ''`"
                " makes one up and prints it), or listen on 127.0.0.1 and use an SSH tunnel"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def make_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(24)
