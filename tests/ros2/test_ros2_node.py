"""The node on topics inside this process: what it publishes for whom, what it counts, how it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from node_messages import PICTURE, eventually, message_of, segment_one, values_of
from reference_bundle import SIZE_HW, expected_labels
from running_node import LocalTransport, Running

from edge_vseg import Deadline, Segmenter
from edge_vseg.errors import OptionError
from edge_vseg.messages import definitions as ros
from edge_vseg.ros2.node import NodeOptions
from edge_vseg.topics.port import TopicQos, check_topic
from edge_vseg.types import Frame
from edge_vseg.video import FrameCounts
from edge_vseg.video.cameras.ros_topic import HEADERS_KEPT, TopicOptions, TopicSource

Start = Callable[..., Running]


def test_only_labels_without_subscribers(start: Start) -> None:
    transport = LocalTransport()
    segment_one(start, transport)
    assert set(transport.published) == {
        "/edge_vseg/labels",
        "/edge_vseg/label_info",
        "/edge_vseg/vision_info",
        "/diagnostics",
    }
    (labels,) = transport.published["/edge_vseg/labels"]
    np.testing.assert_array_equal(labels.data.reshape(SIZE_HW), expected_labels(PICTURE))
    assert labels.header == message_of().header


def test_class_names_are_looked_for_where_they_are_after_remapping(start: Start) -> None:
    transport = LocalTransport()
    transport.remapped = {"/edge_vseg/label_info": "/front/classes"}
    segment_one(start, transport)
    (info,) = transport.published["/edge_vseg/vision_info"]
    assert info.database_location == "/front/classes"


def test_results_and_diagnoses_have_the_name_of_the_camera_after_remapping(start: Start) -> None:
    transport, seen = LocalTransport(), []
    transport.remapped = {"/cam": "/front/image"}
    running = segment_one(start, transport, before=seen.append)
    assert [frame.source_name for frame in seen] == ["ros2:/front/image"]
    assert running.statuses[-1].hardware_id == "/front/image"


@pytest.mark.parametrize("topic", ["overlay", "overlay/compressed", "uncertainty", "age"])
def test_what_somebody_subscribes_to(topic: str, start: Start) -> None:
    transport = LocalTransport(f"/edge_vseg/{topic}")
    segment_one(start, transport)
    extra = set(transport.published) - {"/edge_vseg/labels", "/edge_vseg/label_info", "/edge_vseg/vision_info"}
    assert extra == {f"/edge_vseg/{topic}", "/diagnostics"}
    (message,) = transport.published[f"/edge_vseg/{topic}"]
    assert message.header.stamp == ros.Time(sec=1, nanosec=9)


def test_compressed_images(start: Start) -> None:
    transport = LocalTransport()
    running = start(transport, images="compressed", max_frames=1)
    png = np.asarray(cv2.imencode(".png", PICTURE)[1], np.uint8).reshape(-1)
    running.send(ros.CompressedImage(header=message_of().header, format="png", data=png))
    running.join()
    (labels,) = transport.published["/edge_vseg/labels"]
    np.testing.assert_array_equal(labels.data.reshape(SIZE_HW), expected_labels(PICTURE))


def test_uncertainty_as_bytes_is_that_of_the_result(start: Start, reference_bundle: Path) -> None:
    transport = LocalTransport("/edge_vseg/uncertainty")
    segment_one(start, transport, uncertainty="mono8")
    (message,) = transport.published["/edge_vseg/uncertainty"]
    with Segmenter.open(reference_bundle, runtime="reference") as segmenter:
        truth = segmenter(PICTURE).uncertainty
    assert truth is not None
    assert (message.encoding, message.step) == ("mono8", truth.shape[1])
    assert np.abs(message.data.reshape(truth.shape) / 255 - truth).max() <= 0.5 / 255 + 1e-6


def test_quality_of_service(start: Start) -> None:
    transport = LocalTransport()
    start(transport)
    assert transport.qos["/cam"] == TopicQos(reliability="best_effort", durability="volatile", depth=1)
    assert transport.qos["/edge_vseg/labels"] == TopicQos(reliability="reliable", durability="volatile", depth=1)
    assert transport.qos["/edge_vseg/label_info"].durability == "transient_local"


def test_only_the_newest_image_is_segmented(start: Start) -> None:
    transport, reached, gate = LocalTransport(), threading.Event(), threading.Event()
    published = transport.published["/edge_vseg/labels"]

    def hold(frame: Frame) -> None:
        if reached.is_set():  # a node that is late publishes the newest label map only
            eventually(lambda: len(published) == 1)
        reached.set()
        assert gate.wait(20)

    running = start(transport, before=hold, max_frames=2)
    running.send(message_of(sec=0))
    assert reached.wait(20)
    for sec in range(1, 5):
        running.send(message_of(sec=sec))
    gate.set()
    running.join()
    assert [each.header.stamp.sec for each in published] == [0, 4]
    values = values_of(running.statuses[-1])
    assert (values["images received"], values["images dropped"], values["label maps"]) == ("5", "3", "2")


def test_a_policy_runs_on_the_images(start: Start) -> None:
    transport = LocalTransport("/edge_vseg/age")
    running = start(transport, policy=Deadline(milliseconds=1000.0), max_frames=3)
    for sec in range(3):
        running.send(message_of(PICTURE, sec))
        eventually(lambda sec=sec: running.node.results > sec)
    running.join()
    assert [each.header.stamp.sec for each in transport.published["/edge_vseg/labels"]] == [0, 1, 2]
    assert len(transport.published["/edge_vseg/age"]) == 3


def test_stop_ends_it(start: Start) -> None:
    running = start(LocalTransport())
    running.stop.set()
    running.join()
    assert running.error is None


def test_a_topic_is_a_source(caplog: pytest.LogCaptureFixture) -> None:
    transport = LocalTransport()
    with TopicSource(transport, "cam") as frames:
        assert (frames.name, frames.is_live, frames.connection.state) == ("ros2:/cam", True, "reconnecting")
        assert frames.connection.reason == "no image yet"
        for sec in range(3):
            transport.send["/cam"](message_of(sec=sec))
        assert frames.counts == FrameCounts(captured=3, dropped=2, waiting=1, read=0)
        first = next(frames)
        np.testing.assert_array_equal(first.image, PICTURE)
        assert frames.counts == FrameCounts(captured=3, dropped=2, waiting=0, read=1)
        assert frames.connection.state == "connected"
        header = frames.header_of(first.seq)
        assert header is not None
        assert header.stamp.sec == 2
        later = threading.Timer(0.05, lambda: transport.send["/cam"](message_of(sec=9)))
        transport.send["/cam"](message_of(PICTURE.astype(np.uint16), encoding="bgr16"))
        later.start()
        assert next(frames).seq in (3, 4)
        later.join()
        counts = frames.counts
        assert (counts.captured, counts.read, counts.dropped) == (5, 2, 3), "what cannot be decoded is dropped"
        closing = threading.Timer(0.1, frames.close)
        closing.start()
        assert next(frames, None) is None, "closing ends what waits"
        closing.join()
    assert frames.connection.state == "ended"


def test_a_source_keeps_the_last_headers() -> None:
    transport = LocalTransport()
    with TopicSource(transport, "/cam") as frames:
        for sec in range(HEADERS_KEPT + 2):
            transport.send["/cam"](message_of(sec=sec))
            next(frames)
        assert (frames.header_of(1), frames.header_of(2) is None) == (None, False)


@pytest.mark.parametrize("name", ["/a b", "", "/", "/a//b", "/1a", "a/", "/ä"])
def test_impossible_topics(name: str) -> None:
    with pytest.raises(OptionError, match="is not a topic name"):
        NodeOptions(namespace=name)


@pytest.mark.parametrize(("name", "full"), [("a/b_1", "/a/b_1"), ("/camera/image_raw", "/camera/image_raw")])
def test_possible_topics(name: str, full: str) -> None:
    assert check_topic(name) == full


def test_impossible_options() -> None:
    with pytest.raises(OptionError, match="uncertainty must be"):
        NodeOptions(uncertainty="8UC1")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="images must be"):
        TopicOptions(images="jpeg")  # type: ignore[arg-type]


@pytest.mark.parametrize(("field", "value"), [("reliability", "sometimes"), ("durability", "persistent"), ("depth", 0)])
def test_impossible_qos(field: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{field} must be"):
        TopicQos(**{field: value})
