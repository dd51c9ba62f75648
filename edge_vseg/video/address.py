"""Network addresses: supported schemes, live schemes, and display without credentials."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from edge_vseg.errors import OptionError

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"})
SCHEMES = LIVE_SCHEMES | {"http", "https"}

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")


def scheme_of(source: str) -> str | None:
    """The lower-case scheme of a network address; ``None`` for a path.

    Raises:
        OptionError: If the scheme is not supported.
    """
    match = _SCHEME.match(source)
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in sorted(SCHEMES))
        raise OptionError(f"{scheme}:// is not a supported address; known: {known}; or give a path")
    return scheme


def public_address(address: str) -> str:
    """The address without user, password and query, for messages, logs and manifests."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def stream_options(scheme: str) -> dict[str, str]:
    """FFmpeg options that keep a live stream from lagging; empty for other schemes."""
    if scheme not in LIVE_SCHEMES:
        return {}
    options = {"fflags": "nobuffer"}
    if scheme in {"rtsp", "rtsps"}:
        # Over UDP, a lost packet smears the image until the next keyframe.
        options["rtsp_transport"] = "tcp"
    return options
