"""ROS 2's topics by Eclipse Cyclone DDS, without a ROS installation.

Names, types and quality of service follow ROS 2's mapping to DDS: topic ``/a/b`` is ``rt/a/b``,
``sensor_msgs/msg/Image`` is ``sensor_msgs::msg::dds_::Image_``, and samples are plain CDR without a key. Samples carry
bytes that :mod:`edge_vseg.messages.cdr` made: the Python binding's own walks over an image byte by byte,
which takes a thousand times as long (``benchmarks/ros2_image.py``).

Reference: https://design.ros2.org/articles/topic_and_service_names.html
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

from edge_vseg.errors import OptionError, TransportError
from edge_vseg.input_files import whole_number
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.fields import FieldType, Message, Nested, Numbers, Scalar, Several, fields_of, once_per_kind
from edge_vseg.messages.schema import type_hash
from edge_vseg.topics.port import M, TopicPublisher, TopicQos, TopicSubscription, Transport, check_topic, decoded

log = logging.getLogger(__name__)

MAX_DOMAIN = 232
_WAKE_NS = 200_000_000
_BLOCK_NS = 20_000_000
_JOIN_S = 2.0
_TAKE_AT_ONCE = 16
_NETWORK = """<CycloneDDS><Domain><General>
<Interfaces><NetworkInterface name="{name}"{multicast}/></Interfaces>
{allow}</General>{discovery}</Domain></CycloneDDS>"""
_LOOPBACK = {
    "multicast": ' multicast="false"',
    "allow": "<AllowMulticast>false</AllowMulticast>",
    "discovery": "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>119"
    '</MaxAutoParticipantIndex><Peers><Peer address="localhost"/></Peers></Discovery>',
}


def _load(module: str = "") -> ModuleType:
    try:
        return importlib.import_module(f"cyclonedds{module}")
    except ImportError as exc:
        arm = platform.machine() in ("aarch64", "arm64") and platform.system() == "Linux"
        hint = "; on this CPU it has to be built first, see ROS 2 in the documentation" if arm else ""
        raise TransportError(
            f"ROS 2's topics need the package cyclonedds, which cannot be loaded ({exc}):"
            f" pip install 'edge-vseg[ros2]'{hint}"
        ) from exc


def default_domain() -> int:
    """The domain that ``ROS_DOMAIN_ID`` names; 0 without it.

    Raises:
        OptionError: If it is not a number from 0 to :data:`MAX_DOMAIN`.
    """
    text = os.environ.get("ROS_DOMAIN_ID", "") or "0"
    number = whole_number(text, most=MAX_DOMAIN)
    if number is None:
        raise OptionError(f"ROS_DOMAIN_ID is {text!r}; expected a number from 0 to {MAX_DOMAIN}")
    return number


class DdsTransport(Transport):
    """A DDS participant, and one thread that hands out what arrives."""

    _domains: ClassVar[dict[int, tuple[str, Any]]] = {}
    """Interface and binding's object of each domain that was configured."""

    def __init__(self, domain: int | None = None, interface: str = "") -> None:
        """Join the network.

        Args:
            domain: ROS 2's domain, 0 to 232; ``None`` for that of ``ROS_DOMAIN_ID``.
            interface: The only network interface to use, such as ``eth0``; ``lo`` keeps everything on this machine.
                Empty leaves it to Cyclone DDS and ``CYCLONEDDS_URI``, or to what this process uses in this domain.

        Raises:
            OptionError: If the domain is out of range, or this process uses another interface in it.
            TransportError: If ``cyclonedds`` is missing, or the interface cannot be used.
        """
        domain = default_domain() if domain is None else domain
        if not 0 <= domain <= MAX_DOMAIN:
            raise OptionError(f"a domain is a number from 0 to {MAX_DOMAIN}, got {domain}")
        self._core, self._error = _load(".core"), _load(".core").DDSException
        try:
            if interface:
                self._configure(domain, interface)
            self._participant = _load(".domain").DomainParticipant(domain)
            self._waitset = self._core.WaitSet(self._participant)
            self._wake = self._core.GuardCondition(self._participant)
            self._waitset.attach(self._wake)
        except self._error as exc:
            where = f"the interface {interface!r}" if interface else "the network (CYCLONEDDS_URI?)"
            raise TransportError(f"DDS cannot use domain {domain} on {where}: {exc}") from exc
        self._readers: list[tuple[Any, Callable[[bytes], None]]] = []
        self._publishers: list[_DdsPublisher] = []
        self._changed = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._hand_out, name="ros2 topics", daemon=True)
        self._thread.start()

    def _configure(self, domain: int, interface: str) -> None:
        # A domain is configured once in a process, and lives as long as the process.
        configuration = _network(interface)
        if domain not in self._domains:
            self._domains[domain] = interface, _load(".domain").Domain(domain, configuration)
        used = self._domains[domain][0]
        if used != interface:
            raise OptionError(
                f"domain {domain} is on the interface {used!r} in this process, and cannot be on {interface!r}, too;"
                " name one interface, or start another process"
            )

    def subscribe(self, topic: str, kind: type[M], qos: TopicQos, callback: Callable[[M], None]) -> TopicSubscription:
        """Receive the messages of a topic; one that cannot be decoded is logged once and left out."""
        name = check_topic(topic)
        deliver = decoded(name, kind, callback)

        entity = self._open(name, kind, qos, _load(".sub").DataReader)
        with self._changed:
            self._readers.append((entity, deliver))
            self._waitset.attach(self._core.ReadCondition(entity, _unread(self._core)))
        self._wake.set(True)
        return _DdsSubscription(entity, name)

    def publisher(self, topic: str, kind: type[Message], qos: TopicQos) -> TopicPublisher:
        """Announce a topic."""
        name = check_topic(topic)
        writer = self._open(name, kind, qos, _load(".pub").DataWriter)
        self._publishers.append(_DdsPublisher(writer, name, kind, self._error))
        return self._publishers[-1]

    def _open(self, topic: str, kind: type[Message], qos: TopicQos, entity: Callable[..., Any]) -> Any:
        try:
            described = _load(".topic").Topic(self._participant, f"rt{topic}", sample_type(kind))
            return entity(self._participant, described, qos=_dds_qos(qos, kind))
        except self._error as exc:
            raise TransportError(f"{topic} cannot be opened as {kind.type_name}: {exc}") from exc

    def _hand_out(self) -> None:
        waitset, wake = self._waitset, self._wake
        while not self._stopped.is_set():
            waitset.wait(_WAKE_NS)
            wake.set(False)
            with self._changed:
                readers = tuple(self._readers)
            for reader, deliver in readers:
                for data in self._taken(reader):
                    if not self._stopped.is_set():
                        self._call(deliver, data)

    def _taken(self, reader: Any) -> list[bytes]:
        try:
            samples = reader.take(N=_TAKE_AT_ONCE)
        except self._error as exc:
            log.warning("DDS gave no samples this time: %s", exc)
            return []
        # A publisher that went away is a sample without data.
        return [sample.data for sample in samples if getattr(sample, "data", None) is not None]

    @staticmethod
    def _call(deliver: Callable[[bytes], None], data: bytes) -> None:
        try:
            deliver(data)
        except Exception:
            # One subscriber's fault must not stop the topics of the others.
            log.exception("a subscriber failed; it goes on with the next message")

    def close(self) -> None:
        """Leave the network."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._wake.set(True)
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        for publisher in self._publishers:
            publisher.close()
        self._readers.clear()
        # The binding deletes an entity with the last reference to it.
        self._participant = self._waitset = self._wake = None


class _DdsSubscription(TopicSubscription):
    def __init__(self, reader: Any, topic: str) -> None:
        self._topic = topic
        # The binding deletes an entity with the last reference to it: a subscription must not outlive its transport.
        self._reader = weakref.ref(reader)

    @property
    def topic(self) -> str:
        return self._topic

    @property
    def publisher_count(self) -> int:
        reader = self._reader()
        return 0 if reader is None else len(reader.get_matched_publications())


class _DdsPublisher(TopicPublisher):
    def __init__(self, writer: Any, topic: str, kind: type[Message], error: type[Exception]) -> None:
        self._writer = writer
        self._topic = topic
        self._sample = sample_type(kind)
        self._error = error

    @property
    def topic(self) -> str:
        return self._topic

    def publish(self, message: Message) -> None:
        if self._writer is None:
            raise TransportError("the transport is closed; open a new one")
        try:
            self._writer.write(self._sample(encode_message(message)))
        except self._error as exc:
            raise TransportError(f"a {message.type_name} could not be published: {exc}") from exc

    @property
    def subscriber_count(self) -> int:
        return 0 if self._writer is None else len(self._writer.get_matched_subscriptions())

    def close(self) -> None:
        self._writer = None


def _network(interface: str) -> str:
    if interface == "lo":
        return _NETWORK.format(name=interface, **_LOOPBACK)
    if not all(letter.isalnum() or letter in "._-@:" for letter in interface):
        raise OptionError(f"{interface!r} is not the name of a network interface; `ip link` lists them")
    return _NETWORK.format(name=interface, multicast="", allow="", discovery="")


def _unread(core: ModuleType) -> int:
    return int(core.ViewState.Any | core.SampleState.NotRead | core.InstanceState.Any)


def _dds_qos(qos: TopicQos, kind: type[Message]) -> Any:
    policies = _load(".qos")
    policy = policies.Policy
    return policies.Qos(
        policy.Reliability.Reliable(_BLOCK_NS) if qos.reliability == "reliable" else policy.Reliability.BestEffort,
        policy.Durability.TransientLocal if qos.durability == "transient_local" else policy.Durability.Volatile,
        policy.History.KeepLast(qos.depth),
        policy.DataRepresentation(use_cdrv0_representation=True),
        # ROS 2 reads the type hash here since Iron, for `ros2 topic info -v`.
        policy.Userdata(f"typehash={type_hash(kind)};".encode()),
    )


class _Encoded:
    """A sample that carries its bytes, in place of the binding's own encoding."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def serialize(self, *_: Any, **__: Any) -> bytes | None:
        return self.data

    @classmethod
    def deserialize(cls, data: bytes, *_: Any, **__: Any) -> Any:
        return cls(data)

    @classmethod
    def deserialize_key(cls, *_: Any, **__: Any) -> Any:
        return cls(None)  # a publisher that went away: there is no message


@once_per_kind
def sample_type(kind: type[Message]) -> Any:
    """The binding's type of a message: its DDS name and structure, with samples that carry bytes.

    Called with the bytes of a message, it gives a sample for :meth:`cyclonedds.pub.DataWriter.write`.
    """
    described = _idl_struct(kind)
    # Not by inheritance: the binding takes every base for a part of the type.
    for name in ("__init__", "serialize", "deserialize", "deserialize_key"):
        setattr(described, name, vars(_Encoded)[name])
    return described


@once_per_kind
def _nested_type(kind: type[Message]) -> Any:
    return _idl_struct(kind)


def _idl_struct(kind: type[Message]) -> Any:
    package, _, name = kind.type_name.split("/")
    return _load(".idl").make_idl_struct(
        f"{name}_",
        f"{package}.msg.dds_.{name}_",
        {field: _idl_type(field_type) for field, field_type in fields_of(kind)},
    )


def _idl_type(field: FieldType) -> Any:
    types = _load(".idl.types")
    match field:
        case Scalar(ros=name):
            return getattr(types, name)
        case Numbers(item=item):
            return types.sequence[getattr(types, item.ros)]
        case Nested(kind=kind):
            return _nested_type(kind)
        case Several(kind=kind):
            return types.sequence[_nested_type(kind)]
        case _:
            return str
