"""The messages that this package reads and writes, with the names and types of ROS 2's own (Humble and later)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_vseg.messages.fields import (
    Byte,
    Float32,
    Float64,
    Int8s,
    Int32,
    Message,
    Text,
    UInt8,
    UInt8s,
    UInt16,
    UInt32,
)

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Time(Message):
    """A time stamp: of the Unix epoch, or of a simulation."""

    type_name: ClassVar[str] = "builtin_interfaces/msg/Time"
    sec: Int32 = 0
    nanosec: UInt32 = 0

    @classmethod
    def from_ns(cls, time_ns: int) -> Time:
        """The stamp of a time in nanoseconds."""
        return cls(sec=time_ns // _NS_PER_S, nanosec=time_ns % _NS_PER_S)

    @property
    def total_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.sec * _NS_PER_S + self.nanosec


@dataclass(frozen=True, slots=True, kw_only=True)
class Header(Message):
    """When something was measured, and in which coordinate frame."""

    type_name: ClassVar[str] = "std_msgs/msg/Header"
    stamp: Time
    frame_id: Text = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image(Message):
    """Raw pixels; ``step`` is the length of a row in bytes."""

    type_name: ClassVar[str] = "sensor_msgs/msg/Image"
    header: Header
    height: UInt32
    width: UInt32
    encoding: Text
    is_bigendian: UInt8 = 0
    step: UInt32
    data: UInt8s


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressedImage(Message):
    """A JPEG or PNG file."""

    type_name: ClassVar[str] = "sensor_msgs/msg/CompressedImage"
    header: Header
    format: Text
    data: UInt8s


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionClass(Message):
    """A class id and its name."""

    type_name: ClassVar[str] = "vision_msgs/msg/VisionClass"
    class_id: UInt16
    class_name: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelInfo(Message):
    """The classes of label images."""

    type_name: ClassVar[str] = "vision_msgs/msg/LabelInfo"
    header: Header
    class_map: tuple[VisionClass, ...]
    threshold: Float32 = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionInfo(Message):
    """What makes the label images, and where their classes are told."""

    type_name: ClassVar[str] = "vision_msgs/msg/VisionInfo"
    header: Header
    method: Text
    database_location: Text
    database_version: Int32 = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue(Message):
    """A figure of a diagnosis."""

    type_name: ClassVar[str] = "diagnostic_msgs/msg/KeyValue"
    key: Text
    value: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticStatus(Message):
    """How a part of the robot is; ``level`` is 0 for ok, 1 for a warning, 2 for an error, 3 for stale."""

    type_name: ClassVar[str] = "diagnostic_msgs/msg/DiagnosticStatus"
    level: Byte
    name: Text
    message: Text
    hardware_id: Text
    values: tuple[KeyValue, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticArray(Message):
    """How parts of the robot are."""

    type_name: ClassVar[str] = "diagnostic_msgs/msg/DiagnosticArray"
    header: Header
    status: tuple[DiagnosticStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Message):
    """A position in metres."""

    type_name: ClassVar[str] = "geometry_msgs/msg/Point"
    x: Float64 = 0.0
    y: Float64 = 0.0
    z: Float64 = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quaternion(Message):
    """A rotation; none by default."""

    type_name: ClassVar[str] = "geometry_msgs/msg/Quaternion"
    x: Float64 = 0.0
    y: Float64 = 0.0
    z: Float64 = 0.0
    w: Float64 = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose(Message):
    """A position and a rotation."""

    type_name: ClassVar[str] = "geometry_msgs/msg/Pose"
    position: Position
    orientation: Quaternion


@dataclass(frozen=True, slots=True, kw_only=True)
class MapMetaData(Message):
    """Where a grid lies: metres per cell, cells, and the pose of the corner of cell (0, 0)."""

    type_name: ClassVar[str] = "nav_msgs/msg/MapMetaData"
    map_load_time: Time
    resolution: Float32
    width: UInt32
    height: UInt32
    origin: Pose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OccupancyGrid(Message):
    """Row-major cells from ``origin``: 0 is free, 100 occupied, -1 unknown."""

    type_name: ClassVar[str] = "nav_msgs/msg/OccupancyGrid"
    header: Header
    info: MapMetaData
    data: Int8s


MESSAGES: tuple[type[Message], ...] = (
    Time,
    Header,
    Image,
    CompressedImage,
    VisionClass,
    LabelInfo,
    VisionInfo,
    KeyValue,
    DiagnosticStatus,
    DiagnosticArray,
    Position,
    Quaternion,
    Pose,
    MapMetaData,
    OccupancyGrid,
)
"""All of them."""
