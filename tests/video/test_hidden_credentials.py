"""Passwords in addresses and pipelines stay out of names, command lines and messages."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from edge_vseg.errors import VideoDecodeError
from edge_vseg.video.address import mask_addresses, pipeline_name, without_credentials
from edge_vseg.video.cameras.gstreamer import GStreamerSource


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gst:rtspsrc location=rtsp://u:pw@cam ! decodebin", "gst:rtspsrc …"),
        ("front=gst:rtspsrc user-pw=pw ! decodebin", "front=gst:rtspsrc …"),
        ("gst:location=rtsp://u:pw@cam", "gst:location …"),
        ("gst:(rtspsrc user-pw=pw)", "gst: …"),
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
