"""A message of every kind, filled at random, and the same message in rosbags' types."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from edge_vseg.messages.definitions import MESSAGES
from edge_vseg.messages.fields import FieldType, Message, Nested, Numbers, Scalar, Several, String, fields_of

# rosbags knows no vision_msgs; these are the definitions of the package's branch ros2.
VISION = {
    "vision_msgs/msg/VisionClass": "uint16 class_id\nstring class_name\n",
    "vision_msgs/msg/LabelInfo": "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
    "vision_msgs/msg/VisionInfo": (
        "std_msgs/Header header\nstring method\nstring database_location\nint32 database_version\n"
    ),
}


def reference_types() -> Any:
    """ROS 2 Humble's types as rosbags has them."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in VISION.items():
        store.register(get_types_from_msg(text, name))
    return store


def fill(kind: type[Message], rng: np.random.Generator) -> Message:
    """Random values in every field; texts have lengths of every remainder modulo 8, so that alignment matters."""
    return kind(**{name: _value(field, rng) for name, field in fields_of(kind)})


def _value(field: FieldType, rng: np.random.Generator) -> Any:
    match field:
        case Scalar(code=code, ros=ros):
            dtype = np.dtype(code)
            if dtype.kind == "f":
                return float(dtype.type(rng.normal()))
            highest = 127 if ros == "byte" else np.iinfo(dtype).max  # rosbags has bytes signed, ROS 2 unsigned
            return int(rng.integers(np.iinfo(dtype).min, highest, dtype=dtype, endpoint=True))
        case Numbers(item=item):
            return rng.integers(0, 100, rng.integers(0, 40)).astype(item.code)
        case String():
            return "".join(rng.choice(list("abü路"), rng.integers(0, 12)))
        case Nested(kind=kind):
            return fill(kind, rng)
        case Several(kind=kind):
            return tuple(fill(kind, rng) for _ in range(rng.integers(0, 4)))


def as_reference(message: Message, store: Any) -> Any:
    """The same message as an object of rosbags."""
    values = {}
    for name, field in fields_of(type(message)):
        value = getattr(message, name)
        match field:
            case Nested():
                value = as_reference(value, store)
            case Several():
                value = [as_reference(each, store) for each in value]
        values[name] = value
    return store.types[message.type_name](**values)


def same(ours: Any, theirs: Any) -> bool:
    """Whether a message of ours has the values of one of another implementation, in every field."""
    if isinstance(ours, Message):
        return all(same(getattr(ours, name), getattr(theirs, name)) for name, _ in fields_of(type(ours)))
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, np.ndarray):
        return ours.tolist() == list(theirs)
    return bool(ours == theirs)


ALL = MESSAGES
