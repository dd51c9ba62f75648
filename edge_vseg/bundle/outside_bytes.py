"""Which other files a runtime reads when it opens a graph: no hash of the graph covers them.

OpenVINO takes the weights of ``graph.xml`` from ``graph.bin``. An ONNX file may keep tensors in files that it names
(``TensorProto.external_data`` of onnx.proto3); it is walked here without the package onnx, which a device lacks.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from edge_vseg.input_files import open_regular

_Span: TypeAlias = tuple[str, int, int]

_BELOW: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""Kind of message by its field number, for all messages that may hold a tensor."""
_KEY, _VALUE = 1, 2
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
_GROUP = (3, 4)


def outside_references(path: Path) -> tuple[str, ...]:
    """The files that a runtime reads besides a graph, relative to its folder.

    Raises:
        OSError: If the graph cannot be read.
    """
    match path.suffix.lower():
        case ".xml":
            weights = path.with_suffix(".bin")
            return (weights.name,) if os.path.lexists(weights) else ()
        case ".onnx":
            return tuple(dict.fromkeys(_locations(path)))
    return ()


def _locations(path: Path) -> Iterator[str]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            waiting: list[_Span] = [("model", 0, size)]
            while waiting:
                kind, at, end = waiting.pop()
                texts: dict[int, str] = {}
                for field, start, stop in _counted_fields(data, at, end):
                    below = _BELOW[kind].get(field)
                    if below is not None:
                        waiting.append((below, start, stop))
                    elif kind == "entry":
                        texts[field] = data[start:stop].decode("utf-8", errors="replace")
                if texts.get(_KEY) == "location":
                    yield texts.get(_VALUE, "")


def _counted_fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and stop of the fields that may be messages or texts; ends at the first damage, as runtimes do."""
    while at < end:
        tag, at = _varint(data, at, end)
        field, wire = tag >> 3, tag & 7
        if wire == _COUNTED:
            length, at = _varint(data, at, end)
            if at + length > end:
                return
            yield field, at, at + length
            at += length
        elif wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        elif wire not in _GROUP:  # what is inside a group is looked at as if it stood outside
            return


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 7, end  # damaged: no field has this wire type
