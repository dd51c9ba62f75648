"""The rest of the robot on DDS, written with Cyclone DDS's own types and encoding instead of ours.

Without postponed annotations, which Cyclone DDS does not resolve.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from cyclonedds._clayer import ddspy_take
from cyclonedds.core import InstanceState, Qos, SampleState, ViewState
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import byte, float32, int32, sequence, uint8, uint16, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

ANY = ViewState.Any | SampleState.Any | InstanceState.Any
LOOPBACK = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>
<MaxAutoParticipantIndex>119</MaxAutoParticipantIndex><Peers><Peer address="localhost"/></Peers></Discovery>
</Domain></CycloneDDS>"""
_used = count()


def new_domain() -> int:
    """A domain that no other test process uses at the time."""
    return (os.getpid() * 16 + next(_used)) % 231 + 1


@dataclass
class Time_(IdlStruct, typename="builtin_interfaces.msg.dds_.Time_"):
    sec: int32
    nanosec: uint32


@dataclass
class Header_(IdlStruct, typename="std_msgs.msg.dds_.Header_"):
    stamp: Time_
    frame_id: str


@dataclass
class Image_(IdlStruct, typename="sensor_msgs.msg.dds_.Image_"):
    header: Header_
    height: uint32
    width: uint32
    encoding: str
    is_bigendian: uint8
    step: uint32
    data: sequence[uint8]


@dataclass
class VisionClass_(IdlStruct, typename="vision_msgs.msg.dds_.VisionClass_"):
    class_id: uint16
    class_name: str


@dataclass
class LabelInfo_(IdlStruct, typename="vision_msgs.msg.dds_.LabelInfo_"):
    header: Header_
    class_map: sequence[VisionClass_]
    threshold: float32


@dataclass
class KeyValue_(IdlStruct, typename="diagnostic_msgs.msg.dds_.KeyValue_"):
    key: str
    value: str


@dataclass
class DiagnosticStatus_(IdlStruct, typename="diagnostic_msgs.msg.dds_.DiagnosticStatus_"):
    level: byte
    name: str
    message: str
    hardware_id: str
    values: sequence[KeyValue_]


@dataclass
class DiagnosticArray_(IdlStruct, typename="diagnostic_msgs.msg.dds_.DiagnosticArray_"):
    header: Header_
    status: sequence[DiagnosticStatus_]


class Robot:
    """A participant on loopback with a camera, and readers of what the node publishes."""

    _configured: dict[int, Domain] = {}  # noqa: RUF012

    def __init__(self, domain: int) -> None:
        if domain not in self._configured:
            self._configured[domain] = Domain(domain, LOOPBACK)
        self.participant = DomainParticipant(domain)

    def writer(self, topic: str, kind: type, *, reliable: bool = False) -> DataWriter:
        policy = Policy.Reliability.Reliable(10**8) if reliable else Policy.Reliability.BestEffort
        return DataWriter(self.participant, Topic(self.participant, f"rt{topic}", kind), qos=Qos(policy))

    def reader(self, topic: str, kind: type, *, latched: bool = False) -> DataReader:
        durability = Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile
        qos = Qos(Policy.Reliability.Reliable(10**8), durability, Policy.History.KeepLast(10))
        return DataReader(self.participant, Topic(self.participant, f"rt{topic}", kind), qos=qos)


def image_of(pixels: np.ndarray, sec: int, nanosec: int, frame_id: str = "front", encoding: str = "bgr8") -> Image_:
    height, width, channels = pixels.shape
    header = Header_(Time_(sec, nanosec), frame_id)
    return Image_(header, height, width, encoding, 0, width * channels, pixels.reshape(-1).tolist())


def raw_samples(reader: DataReader) -> list[bytes]:
    """The bytes of the samples that have arrived, undecoded."""
    taken = ddspy_take(reader._ref, ANY, 100)
    return [bytes(data) for data, info in taken if info.valid_data]


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0, period_s: float = 0.03) -> Any:
    """The condition's first true value."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(period_s)
    raise AssertionError("nothing came in time")
