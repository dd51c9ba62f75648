"""FFmpeg's own word on its options."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

DECODING = 2
"""AV_OPT_FLAG_DECODING_PARAM: an option of inputs."""
_FAKE_OBJECT = 2  # AV_OPT_SEARCH_FAKE_OBJ: a class is asked, and no object of it


class _Option(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("help", ctypes.c_char_p),
        ("offset", ctypes.c_int),
        ("type", ctypes.c_int),
        ("default", ctypes.c_int64),
        ("min", ctypes.c_double),
        ("max", ctypes.c_double),
        ("flags", ctypes.c_int),
    )


class _Class(ctypes.Structure):
    _fields_ = (("class_name", ctypes.c_char_p),)


class FFmpegLibraries:
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
        """The classes of all formats, and under that of their input and output, of all protocols."""
        at = ctypes.c_void_p()
        while child := self.util.av_opt_child_class_iterate(parent, ctypes.byref(at)):
            yield child
            yield from self.children(child)

    def options(self, owner: int, *, flags: int = 0) -> set[str]:
        """Names of a class's options that have some flags; those of their values have no option to be found."""
        pointer, before, names = ctypes.c_void_p(owner), None, set[bytes]()
        while option := self.util.av_opt_next(ctypes.byref(pointer), before):
            before = ctypes.cast(option, ctypes.c_void_p)
            if option.contents.flags & flags == flags:
                names.add(option.contents.name)
        found = (name for name in names if self.util.av_opt_find(ctypes.byref(pointer), name, None, 0, _FAKE_OBJECT))
        return {name.decode() for name in found}


def class_name(owner: int) -> bytes:
    return bytes(ctypes.cast(owner, ctypes.POINTER(_Class)).contents.class_name)
