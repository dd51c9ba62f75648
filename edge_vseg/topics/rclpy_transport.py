"""ROS 2's topics by rclpy, where ROS 2 is installed.

Messages travel as bytes in both directions (raw subscriptions, and publishers that take bytes), so that an image is not
turned into a Python list and back. Written after rclpy's documentation; see docs/ros2.md for what was tried.

Reference: https://docs.ros.org/en/jazzy/p/rclpy/
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from edge_vseg.errors import TransportError
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.fields import Message
from edge_vseg.topics.port import M, TopicPublisher, TopicQos, TopicSubscription, Transport, check_topic, decoded

log = logging.getLogger(__name__)

V = TypeVar("V", bool, int, float, str, list[str])

_JOIN_S = 2.0


class RclpyTransport(Transport):
    """A node of rclpy, spun by a thread."""

    def __init__(self, name: str, arguments: Sequence[str] | None = None) -> None:
        """Create the node.

        Args:
            name: Its name.
            arguments: ROS arguments, such as remappings and parameters; ``None`` for those of the command line.

        Raises:
            TransportError: If rclpy is missing.
        """
        rclpy, executors = _load("rclpy"), _load("rclpy.executors")
        rclpy.init(args=None if arguments is None else list(arguments))
        self._rclpy = rclpy
        self._node = rclpy.create_node(name)
        self._executor = executors.SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._closed = False
        self._thread = threading.Thread(target=self._spin, name="ros2 topics", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        external_shutdown = self._rclpy.executors.ExternalShutdownException
        try:
            self._executor.spin()
        except external_shutdown:  # Ctrl-C: rclpy's own handler shuts its context down
            log.info("ROS 2 was shut down")

    @property
    def running(self) -> bool:
        """Whether ROS 2 was not shut down, such as by Ctrl-C."""
        return bool(self._rclpy.ok())

    def parameter(self, name: str, default: V) -> V:
        """Declare a parameter and read it; its type is that of the default."""
        value: V = self._node.declare_parameter(name, default).value
        return value

    def subscribe(self, topic: str, kind: type[M], qos: TopicQos, callback: Callable[[M], None]) -> TopicSubscription:
        """Receive the messages of a topic; one that cannot be decoded is logged once and left out."""
        name = check_topic(topic)
        deliver = decoded(str(self._node.resolve_topic_name(name)), kind, callback)
        made = self._node.create_subscription(_message_class(kind), name, deliver, _rclpy_qos(qos), raw=True)
        return _RclpySubscription(self._node, made)

    def publisher(self, topic: str, kind: type[Message], qos: TopicQos) -> TopicPublisher:
        """Announce a topic."""
        return _RclpyPublisher(
            self._node.create_publisher(_message_class(kind), check_topic(topic), _rclpy_qos(qos)),
        )

    def close(self) -> None:
        """Destroy the node and shut ROS 2 down."""
        if self._closed:
            return
        self._closed = True
        self._executor.shutdown()
        self._thread.join(_JOIN_S)
        self._node.destroy_node()
        self._rclpy.try_shutdown()


class _RclpySubscription(TopicSubscription):
    def __init__(self, node: Any, subscription: Any) -> None:
        self._node, self._subscription = node, subscription

    @property
    def topic(self) -> str:
        with _translated("the name of a topic could not be read"):
            return str(self._subscription.topic_name)

    @property
    def publisher_count(self) -> int:
        with _translated("publishers could not be counted"):
            # rclpy does not remap the name that it is asked for; the subscription has the remapped one.
            return int(self._node.count_publishers(self._subscription.topic_name))


class _RclpyPublisher(TopicPublisher):
    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher

    @property
    def topic(self) -> str:
        with _translated("the name of a topic could not be read"):
            return str(self._publisher.topic_name)

    def publish(self, message: Message) -> None:
        data = encode_message(message)
        with _translated(f"a {message.type_name} could not be published"):
            self._publisher.publish(data)

    @property
    def subscriber_count(self) -> int:
        with _translated("subscribers could not be counted"):
            return int(self._publisher.get_subscription_count())


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as exc:  # rclpy's RCLError and InvalidHandle, such as after Ctrl-C
        raise TransportError(f"{what}: {exc}") from exc


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise TransportError(
            f"{module} cannot be loaded ({exc}); source ROS 2's setup.bash with the same Python, or use"
            " `edge-vseg ros2`, which needs no ROS installation"
        ) from exc


def _message_class(kind: type[Message]) -> Any:
    package, _, name = kind.type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError as exc:
        raise TransportError(
            f"the messages of {package} are missing: apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        ) from exc


def _rclpy_qos(qos: TopicQos) -> Any:
    policies = _load("rclpy.qos")
    return policies.QoSProfile(
        history=policies.HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=getattr(policies.ReliabilityPolicy, qos.reliability.upper()),
        durability=getattr(policies.DurabilityPolicy, qos.durability.upper()),
    )
