"""Options in the address of a camera, against those of the FFmpeg that PyAV brings along."""

from __future__ import annotations

import pytest
from ffmpeg_libraries import FFmpegLibraries, class_name

from edge_vseg.errors import OptionError, VideoNotFoundError
from edge_vseg.video import open_source
from edge_vseg.video.cameras.v4l2_options import GENERIC_OPTIONS, OWN_OPTIONS, read_v4l2_query


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("frame_rate=60", "no option 'frame_rate'; did you mean framerate"),
        ("video_size=640x480&framrate=60", "no option 'framrate'; did you mean framerate"),
        ("quality=high", "no option 'quality'; known: channel, framerate, input_format"),
        ("framerate", "option 'framerate' has no value; give framerate=VALUE"),
    ],
)
def test_what_ffmpeg_would_ignore_is_refused(query: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        open_source(f"v4l2:///dev/video97?{query}")


def test_what_it_knows_is_passed_on() -> None:
    assert read_v4l2_query("video_size=640x480&input_format=mjpeg&fflags=nobuffer", "it") == {
        "video_size": "640x480",
        "input_format": "mjpeg",
        "fflags": "nobuffer",
    }
    with pytest.raises(VideoNotFoundError, match="there is no camera"):
        open_source("v4l2:///dev/video97?framerate=30")


def test_no_option_that_ffmpeg_has_is_refused() -> None:
    libraries = FFmpegLibraries()
    generic = int(libraries.format.avformat_get_class())
    assert libraries.options(generic) <= GENERIC_OPTIONS
    v4l2 = [child for child in libraries.children(generic) if class_name(child) == b"V4L2 indev"]
    if not v4l2:
        pytest.skip("this FFmpeg has no V4L2")
    assert "framerate" in libraries.options(v4l2[0])
    assert libraries.options(v4l2[0]) <= OWN_OPTIONS
