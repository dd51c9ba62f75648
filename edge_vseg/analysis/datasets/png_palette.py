"""The numbers in a PNG with a palette. OpenCV gives its colours, and two numbers may have one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import DatasetError
from edge_vseg.input_files import read_regular

_MARK = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = b"\x00", 3


def palette_indices(path: Path) -> NDArray[np.uint8] | None:
    """The numbers ``(H, W)`` in a PNG with a palette, as Pillow's mode P has them; ``None`` for any other picture.

    Raises:
        DatasetError: If the file cannot be read.
    """
    try:
        data = read_regular(path)
    except OSError as exc:
        raise DatasetError(f"{path} cannot be read: {exc.strerror}; copy the dataset again") from exc
    if not data.startswith(_MARK) or len(data) < 29 or data[25] != _PALETTE:
        return None
    # Without its palette and said to be grey, the same file is a picture of the numbers.
    grey = _MARK + _chunk(b"IHDR", data[16:25] + _GREY + data[26:29]) + _picture_chunks(data)
    picture = cv2.imdecode(np.frombuffer(grey, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        return None
    stretched = 255 // ((1 << data[24]) - 1)  # numbers of less than 8 bits are made as bright as can be
    return np.asarray(picture // stretched, np.uint8)


def _picture_chunks(data: bytes) -> bytes:
    """The pixels and the end."""
    parts, at = [], len(_MARK)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            parts.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
