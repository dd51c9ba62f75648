"""Small folders in the layouts of datasets."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.analysis.datasets import IndexedFrames, LabelledFrame
from edge_vseg.analysis.datasets.label_sources import Stray

SIZE_HW = (6, 8)


def picture(path: Path, value: int = 7) -> None:
    """An image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*SIZE_HW, 3), value, np.uint8))


def ids(path: Path, rows: list[int], dtype: type = np.uint8) -> None:
    """A label map whose rows have these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.repeat(np.array(rows, dtype)[:, None], SIZE_HW[1], axis=1))


def colors(path: Path, rows: list[tuple[int, int, int]]) -> None:
    """A coloured label map whose rows have these ``(r, g, b)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.repeat(np.array(rows, np.uint8)[:, None], SIZE_HW[1], axis=1)
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))


def panoptic(path: Path, rows: list[int], dtype: type = np.uint8) -> None:
    """A coloured picture with ids in its red channel, and in the others numbers that are not of classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    red = np.repeat(np.array(rows, dtype)[:, None], SIZE_HW[1], axis=1)
    assert cv2.imwrite(str(path), np.stack([np.full_like(red, 3), np.full_like(red, 99), red], axis=-1))


def paletted(path: Path, rows: list[int], palette: dict[int, tuple[int, int, int]]) -> None:
    """A PNG with a palette, which OpenCV reads and does not write."""
    colors = b"".join(bytes(palette.get(number, (1, 2, 3))) for number in range(256))
    _png(path, 8, 3, _chunk(b"PLTE", colors), [bytes([number]) * SIZE_HW[1] for number in rows])


def few_bits(path: Path, rows: list[int], bits: int) -> None:
    """A grey label map of 1, 2 or 4 bits, as MATLAB writes masks; OpenCV writes none."""
    alike = [sum(number << at for at in range(0, 8, bits)) for number in rows]
    _png(path, bits, 0, b"", [bytes([each]) * (SIZE_HW[1] * bits // 8) for each in alike])


def _png(path: Path, bits: int, kind: int, extra: bytes, rows: list[bytes]) -> None:
    head = struct.pack(">IIBBBBB", SIZE_HW[1], SIZE_HW[0], bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = _chunk(b"IHDR", head) + extra + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def lines(path: Path, *names: str) -> None:
    """A list of names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def column(frame: LabelledFrame) -> list[int]:
    """The class ids of the rows."""
    assert frame.labels.shape == SIZE_HW
    return [int(each) for each in frame.labels[:, 0]]


def stray(frames: IndexedFrames, index: int) -> Stray:
    """What the layout does not know of a labelled frame."""
    truth = frames.entries[index].truth
    assert truth is not None
    return truth.stray(SIZE_HW)


def document(path: Path, tree: object) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")
