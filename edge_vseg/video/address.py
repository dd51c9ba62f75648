"""Network addresses: which are understood, which are live, and how they are shown without secrets."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from edge_vseg.errors import OptionError

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"})
SCHEMES = LIVE_SCHEMES | {"http", "https"}

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")


def scheme_of(source: str) -> str | None:
    """The lower-case scheme of a network address; ``None`` for what is a path.

    Raises:
        OptionError: If it is an address of a kind that is not understood.
    """
    match = _SCHEME.match(source)
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(SCHEMES))
        raise OptionError(f"{scheme}:// is no kind of address that can be read; known are {known}, or give a path")
    return scheme


def public_address(address: str) -> str:
    """The address without user, password and query, fit for messages, logs and manifests."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def stream_options(scheme: str) -> dict[str, str]:
    """Demuxer options that keep a live stream current; empty for what is not live."""
    if scheme not in LIVE_SCHEMES:
        return {}
    options = {"fflags": "nobuffer"}
    if scheme in {"rtsp", "rtsps"}:
        # Over UDP a lost packet smears the picture until the next keyframe.
        options["rtsp_transport"] = "tcp"
    return options
