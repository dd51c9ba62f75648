"""A node at work on topics inside this process."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_vseg import Pipeline, PipelineOptions, Segmenter
from edge_vseg.errors import EdgeVsegError, TransportError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.fields import Message
from edge_vseg.ros2.node import NodeOptions, SegmentationNode
from edge_vseg.scheduling.policies import Policy
from edge_vseg.topics.port import TopicPublisher, TopicQos, TopicSubscription, Transport
from edge_vseg.types import Frame, Result
from edge_vseg.video.cameras.ros_topic import TopicImages, TopicOptions, TopicSource


class LocalPublisher(TopicPublisher):
    def __init__(self, topic: str, transport: LocalTransport) -> None:
        self._topic = topic
        self._transport = transport

    @property
    def topic(self) -> str:
        return self._transport.remapped.get(self._topic, self._topic)

    def publish(self, message: Message) -> None:
        if self._topic in self._transport.broken:
            raise ZeroDivisionError
        if self._topic in self._transport.blocked:
            raise TransportError("a timeout")
        self._transport.published[self._topic].append(message)

    @property
    def subscriber_count(self) -> int:
        if self._transport.shut_down:
            raise TransportError("the context is not valid")
        return int(self._topic in self._transport.wanted)


class LocalSubscription(TopicSubscription):
    publisher_count = 1

    def __init__(self, topic: str) -> None:
        self._topic = topic

    @property
    def topic(self) -> str:
        return self._topic


class LocalTransport(Transport):
    """Topics without a network."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = set(wanted)
        self.blocked: set[str] = set()
        self.broken: set[str] = set()
        self.remapped: dict[str, str] = {}
        self.shut_down = False
        self.published: dict[str, list[Any]] = defaultdict(list)
        self.qos: dict[str, TopicQos] = {}
        self.send: dict[str, Callable[[Any], None]] = {}

    def subscribe(self, topic: str, kind: type, qos: TopicQos, callback: Callable[[Any], None]) -> TopicSubscription:
        self.send[topic] = callback
        self.qos[topic] = qos
        return LocalSubscription(self.remapped.get(topic, topic))

    def publisher(self, topic: str, kind: type[Message], qos: TopicQos) -> TopicPublisher:
        self.qos[topic] = qos
        return LocalPublisher(topic, self)

    def close(self) -> None: ...


class Watched:
    """A real segmenter that calls a function with each frame first."""

    def __init__(self, segmenter: Segmenter, before: Callable[[Frame], object]) -> None:
        self._segmenter, self._before = segmenter, before

    def __call__(self, frame: Frame) -> Result:
        self._before(frame)
        return self._segmenter(frame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)


class Running:
    """A node at work in a thread, on a pipeline of its own."""

    def __init__(
        self,
        bundle: Path,
        transport: LocalTransport,
        *,
        before: Callable[[Frame], object] = lambda frame: None,
        images: TopicImages = "raw",
        policy: Policy | None = None,
        pipeline: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        def open_segmenter() -> Any:
            return Watched(Segmenter.open(bundle, runtime="reference", policy=policy), before)

        limits = PipelineOptions(**{"max_age_ms": 60_000.0} | (pipeline or {}))
        self.source = TopicSource(transport, "/cam", TopicOptions(images=images))
        self.pipeline = Pipeline(open_segmenter, self.source, policy=policy, options=limits)
        self.node = SegmentationNode(self.pipeline, self.source, transport, NodeOptions(**options))
        self.transport = transport
        self.stop = threading.Event()
        self.error: EdgeVsegError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.node.run(self.stop)
        except EdgeVsegError as exc:
            self.error = exc

    def send(self, message: Any) -> None:
        self.transport.send["/cam"](message)

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.stop.set()
        self.join()
        self.pipeline.close()

    @property
    def statuses(self) -> list[ros.DiagnosticStatus]:
        return [each.status[0] for each in self.transport.published["/diagnostics"]]
