"""Options in the address of a camera, against those of the FFmpeg that PyAV brings along."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from edge_vseg.errors import OptionError, VideoNotFoundError
from edge_vseg.video import open_source
from edge_vseg.video.cameras.v4l2_options import GENERIC_OPTIONS, OWN_OPTIONS, read_v4l2_query

_FAKE_OBJECT = 2  # AV_OPT_SEARCH_FAKE_OBJ: a class is asked, and no object of it


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


class _Option(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("help", ctypes.c_char_p))


class _Class(ctypes.Structure):
    _fields_ = (("class_name", ctypes.c_char_p),)


class _Libraries:
    """FFmpeg's libraries, as PyAV has loaded them."""

    def __init__(self) -> None:
        folder = Path(av.__file__).parents[1] / "av.libs"  # OpenCV brings others
        found = {name: path for name in ("avutil", "avformat") for path in map(str, folder.glob(f"lib{name}*"))}
        if len(found) < 2:
            pytest.skip(f"PyAV {av.__version__} has FFmpeg's libraries elsewhere")
        self.util, self.format = ctypes.CDLL(found["avutil"]), ctypes.CDLL(found["avformat"])
        self.util.av_opt_next.restype = ctypes.POINTER(_Option)
        self.util.av_opt_next.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.util.av_opt_find.restype = ctypes.c_void_p
        self.util.av_opt_find.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        self.util.av_opt_child_class_iterate.restype = ctypes.c_void_p
        self.util.av_opt_child_class_iterate.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.format.avformat_get_class.restype = ctypes.c_void_p

    def children(self, parent: int) -> Iterator[int]:
        """The classes of all formats and protocols."""
        at = ctypes.c_void_p()
        while child := self.util.av_opt_child_class_iterate(parent, ctypes.byref(at)):
            yield child

    def options(self, owner: int) -> set[str]:
        """Names of a class's options; those of their values have no option of their own to be found."""
        pointer, before, names = ctypes.c_void_p(owner), None, set[bytes]()
        while option := self.util.av_opt_next(ctypes.byref(pointer), before):
            before = ctypes.cast(option, ctypes.c_void_p)
            names.add(option.contents.name)
        found = (name for name in names if self.util.av_opt_find(ctypes.byref(pointer), name, None, 0, _FAKE_OBJECT))
        return {name.decode() for name in found}


def test_no_option_that_ffmpeg_has_is_refused() -> None:
    libraries = _Libraries()
    generic = int(libraries.format.avformat_get_class())
    assert libraries.options(generic) <= GENERIC_OPTIONS
    v4l2 = [child for child in libraries.children(generic) if class_name(child) == b"V4L2 indev"]
    if not v4l2:
        pytest.skip("this FFmpeg has no V4L2")
    assert "framerate" in libraries.options(v4l2[0])
    assert libraries.options(v4l2[0]) <= OWN_OPTIONS


def class_name(owner: int) -> bytes:
    return bytes(ctypes.cast(owner, ctypes.POINTER(_Class)).contents.class_name)
