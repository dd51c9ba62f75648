"""Types of message fields, and the fields of a message class.

A message is a frozen dataclass under :class:`Message` whose annotations are ROS 2's types: ``UInt32``, ``Text``,
``UInt8s``, another message, or ``tuple[Message, ...]``. Bytes, schema texts and type hashes are made from these alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A number.

    Attributes:
        ros: ROS 2's name of the type.
        code: Its code in :mod:`struct`, which numpy shares.
        size: Bytes, and alignment.
        type_id: Its number in ROS 2's type descriptions (``type_description_interfaces/msg/FieldType``).
    """

    ros: str
    code: str
    size: int
    type_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """A sequence of numbers, without a bound."""

    item: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class String:
    """UTF-8 text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """Another message."""

    kind: type[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """A sequence of messages, without a bound."""

    kind: type[Message]


FieldType: TypeAlias = Scalar | Numbers | String | Nested | Several

_INT8 = Scalar(ros="int8", code="b", size=1, type_id=2)
_UINT8 = Scalar(ros="uint8", code="B", size=1, type_id=3)

Byte: TypeAlias = Annotated[int, Scalar(ros="byte", code="B", size=1, type_id=16)]
UInt8: TypeAlias = Annotated[int, _UINT8]
UInt16: TypeAlias = Annotated[int, Scalar(ros="uint16", code="H", size=2, type_id=5)]
Int32: TypeAlias = Annotated[int, Scalar(ros="int32", code="i", size=4, type_id=6)]
UInt32: TypeAlias = Annotated[int, Scalar(ros="uint32", code="I", size=4, type_id=7)]
Float32: TypeAlias = Annotated[float, Scalar(ros="float32", code="f", size=4, type_id=10)]
Float64: TypeAlias = Annotated[float, Scalar(ros="float64", code="d", size=8, type_id=11)]
Text: TypeAlias = Annotated[str, String()]
UInt8s: TypeAlias = Annotated[NDArray[np.uint8], Numbers(item=_UINT8)]
"""``(n,)`` uint8; read-only where it was decoded."""
Int8s: TypeAlias = Annotated[NDArray[np.int8], Numbers(item=_INT8)]
"""``(n,)`` int8; read-only where it was decoded."""


class Message:
    """Base of all messages.

    Attributes:
        type_name: ROS 2's name, such as ``sensor_msgs/msg/Image``.
    """

    __slots__ = ()

    type_name: ClassVar[str]


V = TypeVar("V")


def once_per_kind(make: Callable[[type[Message]], V]) -> Callable[[type[Message]], V]:
    """Remember what is made of each message class; :func:`functools.cache` has no types for classes as arguments."""
    made: dict[type[Message], V] = {}

    @wraps(make)
    def made_once(kind: type[Message]) -> V:
        if kind not in made:
            made[kind] = make(kind)
        return made[kind]

    return made_once


@once_per_kind
def fields_of(kind: type[Message]) -> tuple[tuple[str, FieldType], ...]:
    """Name and type of each field, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple((field.name, _field_type(hints[field.name])) for field in fields(kind))  # type: ignore[arg-type]


def _field_type(hint: Any) -> FieldType:
    if get_origin(hint) is Annotated:
        mark = get_args(hint)[1]
        assert isinstance(mark, Scalar | Numbers | String)
        return mark
    if get_origin(hint) is tuple:
        return Several(kind=get_args(hint)[0])
    return Nested(kind=hint)


def referenced(kind: type[Message]) -> tuple[type[Message], ...]:
    """Every message inside a message, however deep, each once, in the order in which they first occur."""
    found: dict[type[Message], None] = {}
    for _, field in fields_of(kind):
        if isinstance(field, Nested | Several):
            found[field.kind] = None
            found |= dict.fromkeys(referenced(field.kind))
    return tuple(found)
