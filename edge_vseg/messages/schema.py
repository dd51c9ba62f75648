"""What others need to read a message: its definition as text, and its type hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from edge_vseg.messages.fields import (
    FieldType,
    Message,
    Nested,
    Numbers,
    Scalar,
    Several,
    String,
    fields_of,
    once_per_kind,
    referenced,
)

_LINE = "=" * 80
_STRING_ID = 17
_NESTED_ID = 1
_UNBOUNDED_SEQUENCE = 144


@once_per_kind
def schema_text(kind: type[Message]) -> str:
    """The definition with those of all messages in it, as MCAP's encoding ``ros2msg`` has it."""
    own = _definition(kind)
    return "\n".join([own, *(f"{_LINE}\nMSG: {_short(each)}\n{_definition(each)}" for each in referenced(kind))])


@once_per_kind
def type_hash(kind: type[Message]) -> str:
    """ROS 2's type hash, ``RIHS01_`` and 64 hexadecimal digits; writers and readers announce it since Iron.

    Reference: REP 2011, Evolving Message Types: SHA-256 of the type's description as JSON.
    """
    others = sorted(referenced(kind), key=lambda each: each.type_name)
    tree = {
        "type_description": _description(kind),
        "referenced_type_descriptions": [_description(each) for each in others],
    }
    return "RIHS01_" + hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def _short(kind: type[Message]) -> str:
    return kind.type_name.replace("/msg/", "/")


def _definition(kind: type[Message]) -> str:
    return "".join(f"{_type_text(field)} {name}\n" for name, field in fields_of(kind))


def _type_text(field: FieldType) -> str:
    match field:
        case Scalar(ros=ros):
            return ros
        case Numbers(item=item):
            return f"{item.ros}[]"
        case String():
            return "string"
        case Nested(kind=kind):
            return _short(kind)
        case Several(kind=kind):
            return f"{_short(kind)}[]"


def _description(kind: type[Message]) -> dict[str, Any]:
    return {
        "type_name": kind.type_name,
        "fields": [{"name": name, "type": _field_description(field)} for name, field in fields_of(kind)],
    }


def _field_description(field: FieldType) -> dict[str, Any]:
    nested = ""
    match field:
        case Scalar(type_id=number):
            type_id = number
        case Numbers(item=item):
            type_id = item.type_id + _UNBOUNDED_SEQUENCE
        case String():
            type_id = _STRING_ID
        case Nested(kind=kind):
            type_id, nested = _NESTED_ID, kind.type_name
        case Several(kind=kind):
            type_id, nested = _NESTED_ID + _UNBOUNDED_SEQUENCE, kind.type_name
    return {"type_id": type_id, "capacity": 0, "string_capacity": 0, "nested_type_name": nested}
