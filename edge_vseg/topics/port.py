"""The port to ROS 2's topics: subscribe, publish, count who listens."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, TypeVar

from edge_vseg.errors import MessageError, OptionError
from edge_vseg.messages.cdr import decode_message
from edge_vseg.messages.fields import Message

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
_T = TypeVar("_T", bound="Transport")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicQos:
    """Quality of service of a publisher or subscription, by ROS 2's names.

    Attributes:
        reliability: ``best_effort`` drops what is lost; ``reliable`` sends it again.
        durability: ``transient_local`` hands the last messages to those who come later.
        depth: How many messages are kept.
    """

    reliability: Literal["best_effort", "reliable"] = "reliable"
    durability: Literal["volatile", "transient_local"] = "volatile"
    depth: int = 1

    def __post_init__(self) -> None:
        """Raise OptionError if a value is unknown."""
        if self.reliability not in ("best_effort", "reliable"):
            raise OptionError(f"reliability must be best_effort or reliable, got {self.reliability!r}")
        if self.durability not in ("volatile", "transient_local"):
            raise OptionError(f"durability must be volatile or transient_local, got {self.durability!r}")
        if self.depth < 1:
            raise OptionError(f"depth must be at least 1, got {self.depth}")


SENSOR_DATA = TopicQos(reliability="best_effort")
"""Newest only: what a camera is subscribed to with. It matches reliable publishers, too."""
RELIABLE = TopicQos()
LATCHED = TopicQos(durability="transient_local")
"""Said once, heard by those who come later."""


class TopicPublisher(ABC):
    """Publishes the messages of one topic."""

    @property
    @abstractmethod
    def topic(self) -> str:
        """Its name on the network, after the transport's remappings."""

    @abstractmethod
    def publish(self, message: Message) -> None:
        """Send a message.

        Raises:
            MessageError: If a value does not fit its field.
            TransportError: If the network refuses it.
        """

    @property
    @abstractmethod
    def subscriber_count(self) -> int:
        """How many subscriptions listen at the moment.

        Raises:
            TransportError: If the network does not tell.
        """


class TopicSubscription(ABC):
    """Listens to one topic, as long as its transport is open."""

    @property
    @abstractmethod
    def topic(self) -> str:
        """Its name on the network, after the transport's remappings."""

    @property
    @abstractmethod
    def publisher_count(self) -> int:
        """How many publishers it hears at the moment: of the same type, and of a quality of service that fits.

        Raises:
            TransportError: If the network does not tell.
        """


class Transport(ABC):
    """Reaches ROS 2's topics; close it, or use ``with``."""

    @abstractmethod
    def subscribe(self, topic: str, kind: type[M], qos: TopicQos, callback: Callable[[M], None]) -> TopicSubscription:
        """Receive the messages of a topic.

        Args:
            topic: Such as ``/camera/image_raw``.
            kind: The messages' class.
            qos: Quality of service.
            callback: Called with each message in the transport's own thread; it must not block. Arrays in the message
                are read-only.
        """

    @abstractmethod
    def publisher(self, topic: str, kind: type[Message], qos: TopicQos) -> TopicPublisher:
        """Announce a topic."""

    @abstractmethod
    def close(self) -> None:
        """Leave the network; calling it twice does nothing."""

    def __enter__(self: _T) -> _T:
        """Return the transport itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the network, also after an error."""
        self.close()


def decoded(topic: str, kind: type[M], callback: Callable[[M], None]) -> Callable[[bytes], None]:
    """Takes CDR and calls with the message; the first one that cannot be decoded is logged, all are left out."""
    complained = False

    def deliver(data: bytes) -> None:
        nonlocal complained
        try:
            message = decode_message(kind, data)
        except MessageError as exc:
            if not complained:
                log.warning("%s: a message cannot be read: %s", topic, exc)
            complained = True
            return
        callback(message)

    return deliver


def check_topic(name: str) -> str:
    """The name of a topic, with its leading slash.

    Raises:
        OptionError: If it is not a name that ROS 2 allows.
    """
    parts = name.removeprefix("/").split("/")
    if all(part.isascii() and part.isidentifier() for part in parts):
        return "/" + "/".join(parts)
    raise OptionError(
        f"{name!r} is not a topic name; expected names of letters, digits and _ between slashes, such as"
        " /camera/image_raw"
    )
