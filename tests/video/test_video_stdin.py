"""Video on standard input, in a process of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic_video import numbered, write_video

from edge_vseg.errors import OptionError
from edge_vseg.video import open_source

TESTS = Path(__file__).parent
COUNT = 12

READER = """
import sys
sys.path.insert(0, sys.argv[1])
from synthetic_video import number_of
from edge_vseg.video import open_source
with open_source(sys.argv[2], live=True if sys.argv[3:] else None) as source:
    assert source.name == "standard input"
    print(source.is_live, *(number_of(frame.image) for frame in source))
"""


def read(data: bytes, source: str, *live: str) -> str:
    shown = subprocess.run(
        [sys.executable, "-c", READER, str(TESTS), source, *live], input=data, capture_output=True, check=False
    )
    assert shown.returncode == 0, shown.stderr.decode()
    return shown.stdout.decode().strip()


@pytest.mark.parametrize(
    ("codec", "container", "pix_fmt"),
    [
        ("wrapped_avframe", "yuv4mpegpipe", "yuv420p"),
        ("mjpeg", "mjpeg", "yuvj420p"),
        ("libx264", "matroska", "yuv420p"),
    ],
    ids=["y4m", "mjpeg", "matroska"],
)
def test_a_stream_that_describes_itself(codec: str, container: str, pix_fmt: str, tmp_path: Path) -> None:
    images = [numbered(i) for i in range(COUNT)]
    path = write_video(tmp_path / "clip", images, codec=codec, pix_fmt=pix_fmt, container_format=container)
    assert read(path.read_bytes(), "-") == f"False {' '.join(map(str, range(COUNT)))}"


@pytest.mark.parametrize("address", ["-:96x64:bgr24", "stdin:96x64:bgr24:15"])
def test_raw_frames(address: str) -> None:
    data = b"".join(numbered(i).tobytes() for i in range(COUNT))
    assert read(data, address) == f"False {' '.join(map(str, range(COUNT)))}"


def test_a_pipe_can_be_read_live() -> None:
    data = b"".join(numbered(i).tobytes() for i in range(COUNT))
    shown = read(data, "stdin:96x64:bgr24", "live").split()
    assert shown[0] == "True"
    assert shown[-1] == str(COUNT - 1)


def test_a_pipe_that_breaks_off_gives_what_came(tmp_path: Path) -> None:
    images = [numbered(i) for i in range(COUNT)]
    path = write_video(tmp_path / "clip", images, container_format="matroska", options={"x264-params": "bframes=0"})
    shown = read(path.read_bytes()[:-40], "-").split()
    assert shown[0] == "False"
    assert shown[1:] == [str(i) for i in range(len(shown) - 1)]
    assert len(shown) > COUNT - 2


def test_what_is_no_video_is_an_error() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", READER, str(TESTS), "-"], input=b"x" * 5000, capture_output=True, check=False
    )
    assert b"standard input: cannot be read as a video" in shown.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("-:640x480", "expected stdin:WIDTHxHEIGHT:FORMAT"),
        ("stdin:0x480:bgr24", "expected stdin:WIDTHxHEIGHT:FORMAT"),
        ("stdin:64x48:bgr25", "no pixel format 'bgr25'"),
    ],
)
def test_malformed_addresses(address: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_source(address)


def test_the_raw_frames_above_are_what_ffmpeg_means() -> None:
    """PyAV reads the same bytes as the same picture."""
    with av.open(io.BytesIO(numbered(5).tobytes()), format="rawvideo", options={"video_size": "96x64", "pixel_format": "bgr24"}) as container:  # fmt: skip  # noqa: E501
        picture = next(container.decode(video=0)).to_ndarray(format="bgr24")
    np.testing.assert_array_equal(picture, numbered(5))
