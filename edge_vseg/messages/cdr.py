"""A message's bytes: CDR, as ROS 2 has it on the wire and in recordings.

Reference: OMG, DDS Interoperability Wire Protocol (DDSI-RTPS) 2.5, section 10: plain CDR (XCDR version 1).

An image is copied once when it is encoded and never when it is decoded.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import MessageError
from edge_vseg.messages.fields import FieldType, Message, Nested, Numbers, Scalar, Several, String, fields_of

M = TypeVar("M", bound=Message)

_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_ZEROS = bytes(8)


def encode_message(message: Message) -> bytes:
    """The bytes of a message: a header of four bytes, then little-endian CDR, padded to a multiple of four.

    Raises:
        MessageError: If a value does not fit its field.
    """
    encoder = _Encoder()
    try:
        encoder.message(message)
    except (struct.error, TypeError, ValueError, AttributeError) as exc:
        raise MessageError(f"{message.type_name}: a value does not fit its field: {exc}") from exc
    encoder.align(4)
    return b"".join(encoder.parts)


def decode_message(kind: type[M], data: bytes | memoryview) -> M:
    """Read a message from its bytes, of either byte order.

    Args:
        kind: The message's class.
        data: With the header of four bytes. Sequences of numbers in the message refer to it; do not change it.

    Raises:
        MessageError: If the bytes end early, or are not plain CDR.
    """
    view = memoryview(data)
    if len(view) < 4 or view[0] != 0 or view[1] > 1:
        raise MessageError(
            f"{kind.type_name}: expected plain CDR, got {bytes(view[:4]).hex(' ') or 'nothing'}; record and publish it"
            " with a ROS 2 middleware that writes CDR"
        )
    decoder = _Decoder(view[4:], "<" if view[1] else ">")
    try:
        return cast(M, decoder.message(kind))
    except (struct.error, ValueError) as exc:  # ValueError also for text that is not UTF-8
        raise MessageError(f"{kind.type_name}: {len(view)} bytes, damaged or of another type: {exc}") from exc


@cache
def _struct(code: str) -> struct.Struct:
    return struct.Struct(code)


class _Encoder:
    """Collects parts, so that a large sequence is copied only when they are joined."""

    def __init__(self) -> None:
        self.parts: list[Any] = [_LITTLE_ENDIAN]
        self.size = 0

    def align(self, size: int) -> None:
        missing = -self.size % size
        if missing:
            self._append(_ZEROS[:missing], missing)

    def message(self, message: Message) -> None:
        for name, field in fields_of(type(message)):
            self._value(field, getattr(message, name))

    def _value(self, field: FieldType, value: Any) -> None:
        match field:
            case Scalar():
                self._scalar(field.code, field.size, value)
            case String():
                text = value.encode()
                self._length(len(text) + 1)
                self._append(text + b"\0", len(text) + 1)
            case Numbers(item=item):
                numbers = np.ascontiguousarray(value, dtype=np.dtype(f"<{item.code}")).reshape(-1)
                self._length(numbers.size)
                self.align(item.size)
                self._append(numbers.data, numbers.nbytes)
            case Nested():
                self.message(value)
            case Several():
                self._length(len(value))
                for item in value:
                    self.message(item)

    def _length(self, count: int) -> None:
        self._scalar("I", 4, count)

    def _scalar(self, code: str, size: int, value: Any) -> None:
        self.align(size)
        self._append(_struct("<" + code).pack(value), size)

    def _append(self, part: Any, size: int) -> None:
        self.parts.append(part)
        self.size += size


class _Decoder:
    """Walks over the bytes; alignment counts from the end of the header."""

    def __init__(self, view: memoryview, order: str) -> None:
        self._view = view
        self._order = order
        self._position = 0

    def message(self, kind: type[Message]) -> Message:
        return kind(**{name: self._value(field) for name, field in fields_of(kind)})

    def _value(self, field: FieldType) -> Any:
        match field:
            case Scalar():
                return self._scalar(field.code, field.size)
            case String():
                count = self._scalar("I", 4)
                return bytes(self._take(count)).rstrip(b"\0").decode()
            case Numbers(item=item):
                return self._numbers(item)
            case Nested(kind=kind):
                return self.message(kind)
            case Several(kind=kind):
                return self._several(kind)

    def _several(self, kind: type[Message]) -> tuple[Message, ...]:
        count = self._scalar("I", 4)
        if count > len(self._view) - self._position:  # every message has a byte, so a damaged count ends here
            raise ValueError(f"{count} items announced, {len(self._view) - self._position} bytes left")
        return tuple(self.message(kind) for _ in range(count))

    def _numbers(self, item: Scalar) -> NDArray[Any]:
        count = self._scalar("I", 4)
        self._position += -self._position % item.size if count else 0
        numbers = np.frombuffer(self._take(count * item.size), np.dtype(self._order + item.code))
        numbers.flags.writeable = False
        return numbers

    def _scalar(self, code: str, size: int) -> Any:
        self._position += -self._position % size
        return _struct(self._order + code).unpack(self._take(size))[0]

    def _take(self, size: int) -> memoryview:
        end = self._position + size
        if end > len(self._view):
            raise ValueError(f"{size} bytes expected at {self._position}, {len(self._view) - self._position} left")
        start, self._position = self._position, end
        return self._view[start:end]
