"""Passwords in addresses and pipelines stay out of names, command lines and messages."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vseg.errors import VideoDecodeError
from edge_vseg.video.address import _address_start, mask_addresses, pipeline_name, without_credentials
from edge_vseg.video.cameras.gstreamer import GStreamerSource


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gst:rtspsrc location=rtsp://u:pw@cam ! decodebin", "gst:rtspsrc …"),
        ("front=gst:rtspsrc user-pw=pw ! decodebin", "front=gst:rtspsrc …"),
        ("gst:location=rtsp://u:pw@cam", "gst:location …"),
        ("gst:(rtspsrc user-pw=pw)", "gst: …"),
        ("GST:rtspsrc user-pw=pw", "gst:rtspsrc …"),
        ("--source=front=gst:rtspsrc user-pw=pw", "--source=front=gst:rtspsrc …"),
        ("rtsp://admin:2024/pw@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        ("rtsp://cam/a@b", "rtsp://cam/a@b"),
        # No pipeline, although the word is in it.
        ("http://cam/live?domain=gst:?user=u&password=pw", "http://cam/live"),
        ("http://cam/gst:x=?password=pw", "http://cam/gst:x="),
        ("front=rtsp://u:pw@cam/1", "front=rtsp://cam/1"),
        ("drive.mp4", "drive.mp4"),
    ],
)
def test_words_of_a_command_line(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_the_name_of_a_pipeline_is_its_first_element() -> None:
    assert pipeline_name(" v4l2src device=/dev/video0 ! jpegdec") == "gst:v4l2src"
    assert pipeline_name("a=pw") == "gst:a"
    assert pipeline_name("!") == "gst:"


def test_addresses_in_running_text() -> None:
    text = 'no answer from "rtsp://u:pw@cam/1", nor http://cam/2?token=pw'
    assert mask_addresses(text) == 'no answer from "rtsp://cam/1", nor http://cam/2'
    assert "pw" not in mask_addresses("tried http://h/x,rtsp://u:pw@h/x")
    assert "w@" not in mask_addresses("tried 'rtsp://u:p'w@host/s' twice")


@pytest.mark.parametrize(
    "message",
    [
        'could not set property "user-pw" in element "rtspsrc0" to "pw"',
        "no such file: rtsp://u:pw@cam/1",
    ],
)
def test_what_gstreamer_says_of_a_pipeline(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def init(self, _: object) -> None: ...

        def parse_launch(self, text: str) -> Any:
            raise RuntimeError(message)

    gi = types.ModuleType("gi")
    gi.require_version = lambda *_: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gi", gi)
    for name in ("Gst", "GstApp"):
        monkeypatch.setitem(sys.modules, f"gi.repository.{name}", Refusing())  # type: ignore[arg-type]
    with pytest.raises(VideoDecodeError, match="cannot be built") as caught:
        GStreamerSource("rtspsrc user-pw=pw", name="gst:rtspsrc", timeout_s=1, stall_s=1)
    assert "pw@" not in str(caught.value)
    assert '"pw"' not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@given(st.text(st.sampled_from("ab1+-.:/@?=& \u00e9"), max_size=40))
@settings(max_examples=500)
def test_addresses_are_found_as_by_their_grammar(text: str) -> None:
    """RFC 3986: a scheme is a letter, then letters, digits, ``+``, ``.`` and ``-``."""
    found = re.search(r"[a-zA-Z][a-zA-Z0-9+.-]*:(?://|/(?=.*@))", text)
    assert _address_start(text) == (None if found is None else found.start())


def test_a_long_word_takes_no_longer_than_its_length() -> None:
    """Operations are counted: a time would be the machine's."""

    class Counted(str):
        looked_at = 0

        def __getitem__(self, key: Any) -> str:
            Counted.looked_at += 1
            return super().__getitem__(key)

    word = Counted("a" * 5_000 + (":/" + "b" * 100) * 50)
    assert _address_start(word) is None
    assert Counted.looked_at < 2 * len(word)
