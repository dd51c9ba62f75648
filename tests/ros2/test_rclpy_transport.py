"""The transport on rclpy, against a stand-in that has the part of rclpy's documented interface that is used.

It shows that the node is wired up, not that ROS 2 agrees; docs/ros2.md says so.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from reference_bundle import SIZE_HW, expected_labels

from edge_vseg.errors import TransportError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import decode_message, encode_message
from edge_vseg.messages.images import raw_image
from edge_vseg.ros2 import node as node_module
from edge_vseg.topics.port import LATCHED, RELIABLE, SENSOR_DATA
from edge_vseg.topics.rclpy_transport import RclpyTransport
from edge_vseg.video.cameras.ros_topic import TopicSource

PACKAGE = Path(__file__).parents[2] / "examples/ros2/edge_vseg_ros"
PICTURE = np.random.default_rng(3).integers(0, 256, (*SIZE_HW, 3), np.uint8)


class FakeRos:
    """Modules named as ROS 2's, and what was done with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
        self.parameters = parameters
        self.declared: dict[str, Any] = {}
        self.callbacks: dict[str, Callable[[bytes], None]] = {}
        self.published: dict[str, list[bytes]] = {}
        self.qos: dict[str, Any] = {}
        self.shut_down = threading.Event()
        self.remapped: dict[str, str] = {}
        self.publishers = {"/t": 2}
        rclpy = types.SimpleNamespace(
            init=lambda args: None,
            create_node=lambda name: self,
            ok=lambda: not self.shut_down.is_set(),
            try_shutdown=self.shut_down.set,
        )
        executors = types.SimpleNamespace(
            SingleThreadedExecutor=lambda: types.SimpleNamespace(
                add_node=lambda node: None, spin=self.shut_down.wait, shutdown=self.shut_down.set
            ),
            ExternalShutdownException=RuntimeError,
        )
        rclpy.executors = executors
        policy = types.SimpleNamespace
        qos = types.SimpleNamespace(
            QoSProfile=lambda **given: given,
            HistoryPolicy=policy(KEEP_LAST="last"),
            ReliabilityPolicy=policy(RELIABLE="all", BEST_EFFORT="some"),
            DurabilityPolicy=policy(VOLATILE="gone", TRANSIENT_LOCAL="kept"),
        )
        modules = {"rclpy": rclpy, "rclpy.executors": executors, "rclpy.qos": qos}
        for kind in ros.MESSAGES:
            package, _, name = kind.type_name.split("/")
            module = modules.setdefault(f"{package}.msg", types.SimpleNamespace())
            setattr(module, name, type(name, (), {}))
            modules.setdefault(package, types.SimpleNamespace())
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    def declare_parameter(self, name: str, default: Any) -> Any:
        self.declared[name] = default
        return types.SimpleNamespace(value=self.parameters.get(name, default))

    def resolve_topic_name(self, topic: str) -> str:
        return self.remapped.get(topic, topic)

    def create_subscription(
        self, kind: type, topic: str, callback: Callable[[bytes], None], qos: Any, *, raw: bool
    ) -> Any:
        assert raw
        self.callbacks[topic] = callback
        self.qos[topic] = qos
        return types.SimpleNamespace(topic_name=self.remapped.get(topic, topic))

    def create_publisher(self, kind: type, topic: str, qos: Any) -> Any:
        self.qos[topic] = qos
        sent = self.published.setdefault(topic, [])
        name = self.remapped.get(topic, topic)
        return types.SimpleNamespace(publish=sent.append, get_subscription_count=lambda: 0, topic_name=name)

    def count_publishers(self, topic: str) -> int:
        """Of a topic by its name on the network: "The queried topic name is not remapped"."""
        if self.shut_down.is_set():
            raise RuntimeError("the context is not valid")  # the base of rclpy's RCLError
        return self.publishers.get(topic, 0)

    def destroy_node(self) -> None: ...


def test_bytes_in_both_directions(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeRos(monkeypatch, {})
    with RclpyTransport("edge_vseg") as transport:
        heard: list[ros.Time] = []
        assert transport.subscribe("/t", ros.Time, SENSOR_DATA, heard.append).publisher_count == 2
        fake.callbacks["/t"](encode_message(ros.Time(sec=3)))
        fake.callbacks["/t"](b"damaged")
        fake.callbacks["/t"](b"damaged")
        assert heard == [ros.Time(sec=3)]
        assert caplog.text.count("cannot be read") == 1
        publisher = transport.publisher("/u", ros.Time, LATCHED)
        publisher.publish(ros.Time(sec=4))
        assert publisher.subscriber_count == 0
        assert transport.running
    assert decode_message(ros.Time, fake.published["/u"][0]) == ros.Time(sec=4)
    assert fake.qos["/t"] == {"history": "last", "depth": 1, "reliability": "some", "durability": "gone"}
    assert fake.qos["/u"]["durability"] == "kept"
    assert RELIABLE.reliability == "reliable"
    assert fake.shut_down.is_set()


def test_errors_of_rclpy_are_those_of_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRos(monkeypatch, {})

    def refuse(*_: object) -> int:
        raise RuntimeError("the context is not valid")  # the base of rclpy's RCLError and InvalidHandle

    with RclpyTransport("edge_vseg") as transport:
        broken = types.SimpleNamespace(publish=refuse, get_subscription_count=refuse)
        monkeypatch.setattr(fake, "create_publisher", lambda *_: broken)
        publisher = transport.publisher("/u", ros.Time, LATCHED)
        with pytest.raises(TransportError, match=r"Time could not be published: the context is not valid"):
            publisher.publish(ros.Time(sec=4))
        with pytest.raises(TransportError, match="subscribers could not be counted: the context is not valid"):
            _ = publisher.subscriber_count


def test_names_are_those_after_remapping(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As by ``--ros-args -r /t:=/front/t``."""
    fake = FakeRos(monkeypatch, {})
    fake.remapped = {"/t": "/front/t", "/u": "/front/u"}
    fake.publishers = {"/front/t": 3}
    with RclpyTransport("edge_vseg") as transport:
        subscription = transport.subscribe("/t", ros.Time, SENSOR_DATA, lambda message: None)
        assert subscription.publisher_count == 3
        assert subscription.topic == "/front/t"
        assert transport.publisher("/u", ros.Time, LATCHED).topic == "/front/u"
        fake.callbacks["/t"](b"damaged")
        assert "/front/t: a message cannot be read" in caplog.text
        with TopicSource(transport, "/t") as source:
            assert (source.topic, source.name) == ("/front/t", "ros2:/front/t")


def test_publishers_cannot_be_counted_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRos(monkeypatch, {})
    with RclpyTransport("edge_vseg") as transport, TopicSource(transport, "/t") as source:
        subscription = transport.subscribe("/t", ros.Time, SENSOR_DATA, lambda message: None)
        fake.shut_down.set()
        with pytest.raises(TransportError, match="publishers could not be counted: the context is not valid"):
            _ = subscription.publisher_count
        assert source.connection.state == "reconnecting"
        assert source.connection.reason.endswith("publishers could not be counted: the context is not valid")


def test_main_runs_until_ros_is_shut_down(reference_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRos(monkeypatch, {"bundle": str(reference_bundle), "image": "/cam", "runtime": "reference"})
    ended: list[str | None] = []
    thread = threading.Thread(target=lambda: ended.append(node_module.main([])))
    thread.start()
    labels = _wait_for(lambda: _send(fake))
    fake.shut_down.set()
    thread.join(timeout=10)
    assert ended == [None]
    message = decode_message(ros.Image, labels[0])
    np.testing.assert_array_equal(message.data.reshape(SIZE_HW), expected_labels(PICTURE))


def _send(fake: FakeRos) -> list[bytes]:
    if "/cam" in fake.callbacks:
        header = ros.Header(stamp=ros.Time(sec=1))
        fake.callbacks["/cam"](encode_message(raw_image(PICTURE, "bgr8", header)))
    return fake.published.get("/edge_vseg/labels", [])


def _wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(300):
        found = condition()
        if found:
            return found
        threading.Event().wait(0.03)
    raise AssertionError("nothing came")


def test_the_example_sets_every_parameter_with_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRos(monkeypatch, {})
    assert node_module.main([]) == "OptionError: the parameter bundle is missing: --ros-args -p bundle:=street.evseg"
    tree = yaml.safe_load((PACKAGE / "config/segmentation.yaml").read_text(encoding="utf-8"))
    example = tree["edge_vseg"]["ros__parameters"]
    assert {name: type(value) for name, value in example.items()} == {
        name: type(value) for name, value in fake.declared.items()
    }


def test_the_example_package_names_the_node() -> None:
    text = (PACKAGE / "setup.py").read_text(encoding="utf-8")
    assert "segmentation = edge_vseg.ros2.node:main" in text
    assert callable(node_module.main)
    for name in ("package.xml", "setup.cfg", "resource/edge_vseg_ros", "launch/segmentation.launch.py"):
        assert (PACKAGE / name).is_file()


def test_without_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(TransportError, match=r"setup\.bash .* `edge-vseg ros2`, which needs no ROS installation"):
        RclpyTransport("edge_vseg")


def test_missing_messages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRos(monkeypatch, {})
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    with RclpyTransport("edge_vseg") as transport, pytest.raises(TransportError, match=r"ros-\$ROS_DISTRO-vision-msgs"):
        transport.publisher("/x", ros.LabelInfo, LATCHED)
