"""Options for FFmpeg's input from Python, against those of the FFmpeg that PyAV brings along."""

from __future__ import annotations

from pathlib import Path

import pytest
from ffmpeg_libraries import DECODING, FFmpegLibraries

from edge_vseg.video import InputOptions, open_source
from edge_vseg.video.address import LIVE_SCHEMES, stream_options
from edge_vseg.video.ffmpeg_options import KNOWN_OPTIONS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rtsp_transprot", "an option 'rtsp_transprot', and it is ignored then; did you mean rtsp_transport"),
        ("quality!", "an option 'quality!', and it is ignored then"),
    ],
)
def test_a_name_that_no_input_has_is_told(
    drive_video: Path, caplog: pytest.LogCaptureFixture, name: str, said: str
) -> None:
    options = InputOptions(ffmpeg={name: "secret", "probesize": "5000000"})
    with open_source(drive_video, input_options=options) as source:
        next(iter(source))
    (line,) = caplog.messages
    assert said in line
    assert "secret" not in line


def test_no_input_has_an_option_that_is_not_known() -> None:
    libraries = FFmpegLibraries()
    generic = int(libraries.format.avformat_get_class())
    found = libraries.options(generic, flags=DECODING)
    for child in libraries.children(generic):
        found |= libraries.options(child, flags=DECODING)
    assert {"rtsp_transport", "user_agent", "rw_timeout", "probesize"} <= found
    assert not found - KNOWN_OPTIONS
    for scheme in LIVE_SCHEMES:
        assert set(stream_options(scheme)) <= found
