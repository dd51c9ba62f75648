"""Network addresses: supported schemes, live schemes, and display without credentials."""

from __future__ import annotations

import re
import string
from urllib.parse import SplitResult, urlsplit, urlunsplit

from edge_vseg.errors import OptionError

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"})
SCHEMES = LIVE_SCHEMES | {"http", "https"}

_OF_SCHEMES = frozenset(string.ascii_letters + string.digits + "+.-")
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_PIPELINE = re.compile(r"((?:[\w-]+=)*)(?i:gst):(.*)", re.DOTALL)
"""A GStreamer pipeline, also behind the name of a camera."""
_IN_TEXT = re.compile(rf"(?i)\b(?:{'|'.join(sorted(SCHEMES, key=len, reverse=True))})://(?:[^\s<>]*@)?[^\s'\"<>]*")
_SECRET = re.compile(r"(?i)(user(?:name)?|usr|pass(?:wd|word)?|pwd|token|auth|key|secret)=.*?(?=[/&;]|_\w+=|$)")


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


def split_address(address: str) -> SplitResult:
    """The parts of an address.

    Raises:
        OptionError: If it has brackets that enclose no IPv6 address.
    """
    try:
        return urlsplit(address)
    except ValueError as exc:
        raise OptionError(f"{without_credentials(address)} is no address: {exc}; check it") from None


def public_address(address: str) -> str:
    """The address without user, password and query, for messages, logs and manifests.

    Some cameras take user and password in the path (``/user=admin_password=…_channel=1``): the values are masked. A
    password with an unescaped ``/``, ``?`` or ``#`` moves the end of the host; what stands before the last ``@`` goes.
    """
    scheme, _, rest = address.strip().partition("://")
    first = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # Without a colon nothing before the path can be a password; with one, ``host:80/a@b`` might be ``user:80/pw@host``.
    if "@" in rest and "@" not in first and (":" in first.rpartition("]")[2] or "://" in rest):
        rest = rest.rpartition("@")[2]
    try:
        parts = urlsplit(f"{scheme}://{rest}")
    except ValueError:  # brackets that enclose no IPv6 address
        return f"{scheme}://***"
    host = _SECRET.sub(r"\1=***", parts.netloc.rpartition("@")[2])
    return urlunsplit((parts.scheme, host, _SECRET.sub(r"\1=***", parts.path), "", ""))


def pipeline_name(pipeline: str) -> str:
    """``gst:`` and the first element of a GStreamer pipeline: any of its properties may hold a password."""
    found = re.match(r"\s*([\w-]*)", pipeline)
    return f"gst:{found[1] if found else ''}"


def mask_addresses(text: str) -> str:
    """Running text, such as a log line or another library's message, whose addresses are public."""
    return _IN_TEXT.sub(lambda found: public_address(found[0]), text)


def without_credentials(text: str) -> str:
    """A word of a command line, or a name, as it may be shown: the address in it as :func:`public_address` gives it.

    Of a GStreamer pipeline, which may hold a password anywhere, only the first element is left.
    """
    found = _PIPELINE.match(text)
    if found is not None:
        return f"{found[1]}{pipeline_name(found[2])} …"
    start = _address_start(text)
    if start is None:
        return text
    scheme, _, rest = text[start:].partition(":")
    return text[:start] + public_address(f"{scheme}://{rest.lstrip('/') if scheme != 'file' else rest[2:]}")


def _address_start(text: str) -> int | None:
    """Where the first ``scheme://`` begins, or ``scheme:/`` before an ``@``: somebody's slip, and a password behind it.

    In linear time, which a regular expression that looks for the scheme first does not take.
    """
    for found in re.finditer(":/", text):
        if text.startswith("/", found.end()) or text.rfind("@") >= found.end():
            start = found.start()
            while start and text[start - 1] in _OF_SCHEMES:
                start -= 1
            while start < found.start() and text[start] not in string.ascii_letters:
                start += 1
            if start < found.start():
                return start
    return None


def stream_options(scheme: str) -> dict[str, str]:
    """FFmpeg options that keep a live stream from lagging; empty for other schemes."""
    if scheme not in LIVE_SCHEMES:
        return {}
    # FFmpeg would look at 20 frames to find their rate: a second at every opening (1.4 s to the first frame of an RTSP
    # stream at 25 frames per second, 0.4 s without).
    options = {"fflags": "nobuffer", "fpsprobesize": "0"}
    if scheme in {"rtsp", "rtsps"}:
        # Over UDP, a lost packet smears the image until the next keyframe. Over TCP, FFmpeg reorders nothing.
        options["rtsp_transport"] = "tcp"
        options["allowed_media_types"] = "video"
    return options
