"""Unpack a TFLite file into tables that can be changed, and pack them again."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def unpack_tflite(file: bytes) -> Any:
    """The tables of a file, the content of every tensor among them."""
    model = schema.ModelT.InitFromPackedBuf(file)
    for buffer in model.buffers:
        if buffer.offset > 1:  # data that lies behind the tables, where packing would lose it
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack_tflite(model: Any) -> bytes:
    """The file of such tables."""
    builder = flatbuffers.Builder(sum(len(b.data) for b in model.buffers if b.data is not None) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
