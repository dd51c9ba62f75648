"""The node: newest camera image in, label map and what belongs to it out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vseg.errors import EdgeVsegError, FrameError, OptionError, TransportError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.fields import Message
from edge_vseg.messages.images import jpeg_image, raw_image
from edge_vseg.pipeline import Pipeline
from edge_vseg.ros2.diagnostics import HealthReport, judge_health
from edge_vseg.ros2.ground_grid import GroundGrid, GroundOptions, read_homography
from edge_vseg.ros2.outputs import (
    UncertaintyEncoding,
    age_image,
    label_image,
    label_info,
    overlay_picture,
    uncertainty_image,
    vision_info,
)
from edge_vseg.scheduling.policies import Deadline
from edge_vseg.topics.port import LATCHED, RELIABLE, TopicPublisher, TopicQos, Transport, check_topic
from edge_vseg.types import Frame, Image, Result
from edge_vseg.video.cameras.ros_topic import TopicImages, TopicOptions, TopicSource

if TYPE_CHECKING:
    from edge_vseg.topics.rclpy_transport import RclpyTransport

log = logging.getLogger(__name__)

REPORT_S = 1.0
NAME = "edge_vseg"
_COMPLAINTS = 100
"""How many different ones are logged; a message may hold a number that changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """What the node publishes.

    Attributes:
        namespace: Where the node's topics begin.
        labels_qos: Quality of service of the label images.
        uncertainty: Encoding of the uncertainty image.
        ground: Where the ground is; ``None`` publishes no occupancy grid.
        max_frames: Stop after this many label maps; ``None`` for no limit.
    """

    namespace: str = f"/{NAME}"
    labels_qos: TopicQos = RELIABLE
    uncertainty: UncertaintyEncoding = "32FC1"
    ground: GroundOptions | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if a topic or encoding is impossible."""
        check_topic(self.namespace)
        if self.uncertainty not in ("32FC1", "mono8"):
            raise OptionError(f"uncertainty must be 32FC1 or mono8, got {self.uncertainty!r}")


_DEFAULT = NodeOptions()


class SegmentationNode:
    """Publishes what a pipeline makes of a camera topic, under its namespace.

    ``labels``, and, only while somebody subscribes, ``overlay``, ``overlay/compressed``, ``uncertainty``, ``age`` and
    ``grid``; once and for those who come later ``label_info`` and ``vision_info``; every second ``/diagnostics``, by a
    thread that waits for no frame. All images carry the stamp and frame id of the camera image. Ages and deadlines
    count from its arrival in this process, by the monotonic clock: stamps are of the camera's clock or a simulation's,
    and are never computed with. A label map that is too old for :meth:`Pipeline.latest` is not published.

    Attributes:
        results: Label maps published so far.

    Args:
        pipeline: Reads the source; the node leaves it open.
        source: The camera's topic.
        transport: Open; the node leaves it open.
        options: What to publish.
    """

    def __init__(
        self, pipeline: Pipeline, source: TopicSource, transport: Transport, options: NodeOptions = _DEFAULT
    ) -> None:
        self.results = 0
        self._pipeline = pipeline
        self._source = source
        self._labels = pipeline.labels
        self._options = options
        self._ground = None if options.ground is None else GroundGrid(options.ground, self._labels)
        facts = {"bundle": pipeline.bundle_name, "variant": pipeline.variant, "provider": pipeline.provider}
        self._report = HealthReport(NAME, source.topic, facts, time.monotonic_ns())
        self._complained: set[str] = set()
        self._counted = [0, 0, 0]
        self._done = threading.Event()
        self._out = self._announce(transport)
        self._subscription = pipeline.subscribe_frames(self._publish_result)

    def _announce(self, transport: Transport) -> dict[str, TopicPublisher]:
        base = check_topic(self._options.namespace)
        topics: dict[str, tuple[type[Message], TopicQos]] = {
            "labels": (ros.Image, self._options.labels_qos),
            "overlay": (ros.Image, RELIABLE),
            "overlay/compressed": (ros.CompressedImage, RELIABLE),
            "uncertainty": (ros.Image, RELIABLE),
            "age": (ros.Image, RELIABLE),
            "label_info": (ros.LabelInfo, LATCHED),
            "vision_info": (ros.VisionInfo, LATCHED),
        }
        if self._ground is not None:
            topics["grid"] = (ros.OccupancyGrid, RELIABLE)
        out = {name: transport.publisher(f"{base}/{name}", kind, qos) for name, (kind, qos) in topics.items()}
        out["diagnostics"] = transport.publisher("/diagnostics", ros.DiagnosticArray, RELIABLE)
        header = ros.Header(stamp=ros.Time.from_ns(time.time_ns()))
        out["label_info"].publish(label_info(self._labels, header))
        method = f"edge_vseg {self._pipeline.bundle_name} {self._pipeline.variant}"
        out["vision_info"].publish(vision_info(method, out["label_info"].topic, header))
        return out

    def run(self, stop: threading.Event) -> None:
        """Publish until ``stop`` is set or ``max_frames`` are done; it is looked at twice a second.

        Raises:
            PipelineFailedError: If the pipeline has given up; the last diagnosis says why.
            PipelineEndedError: If the topic was closed.
            PipelineClosedError: If the pipeline was closed.
            TransportError: If publishing fails again and again in a way that nobody foresaw.
        """
        reported = time.monotonic()
        try:
            while not stop.is_set() and not self._done.is_set() and self._subscription.active:
                self._done.wait(min(0.5, max(0.0, reported + REPORT_S - time.monotonic())))
                if time.monotonic() - reported >= REPORT_S:
                    reported = time.monotonic()
                    self._diagnose()
            self._diagnose()
            if not (stop.is_set() or self._done.is_set()):
                self._raise_why()
        finally:
            self._subscription.close()

    def _raise_why(self) -> None:
        if not self._pipeline.active:
            self._pipeline.wait(timeout_ms=0)  # raises it
        error = self._subscription.error
        raise TransportError(f"results cannot be published: {type(error).__name__}: {error}") from error

    def _publish_result(self, frame: Frame, result: Result) -> None:
        header = self._source.header_of(frame.seq)
        if header is None or self._done.is_set():
            return
        self._report.add(result)
        self._publish("labels", label_image(result.labels, header))
        self._publish_wanted(frame.image, result, header)
        self.results += 1
        if self.results == self._options.max_frames:
            self._done.set()

    def _publish_wanted(self, image: Image, result: Result, header: ros.Header) -> None:
        wanted = self._wanted()
        if wanted & {"overlay", "overlay/compressed"}:
            picture = overlay_picture(image, result, self._labels)
            if "overlay" in wanted:
                self._publish("overlay", raw_image(picture, "bgr8", header))
            if "overlay/compressed" in wanted:
                self._publish("overlay/compressed", jpeg_image(picture, header))
        if "grid" in wanted and self._ground is not None:
            self._publish_grid(self._ground, result, header.stamp)
        if "uncertainty" in wanted:
            message = uncertainty_image(result, header, self._options.uncertainty)
            if message is not None:
                self._publish("uncertainty", message)
        if "age" in wanted and (message := age_image(result, header)) is not None:
            self._publish("age", message)

    def _wanted(self) -> set[str]:
        try:
            return {name for name, publisher in self._out.items() if publisher.subscriber_count}
        except TransportError as exc:  # ROS 2 was shut down meanwhile
            self._fail(str(exc))
            return set()

    def _publish_grid(self, ground: GroundGrid, result: Result, stamp: ros.Time) -> None:
        try:
            grid = ground.message(result.labels, stamp)
        except FrameError as exc:  # images of another shape than the homography's; the next ones may be right again
            self._fail(f"there is no grid: {exc}")
        else:
            self._publish("grid", grid)

    def _publish(self, name: str, message: Message) -> None:
        try:
            self._out[name].publish(message)
        except TransportError as exc:  # such as a subscriber that blocks the network; the next image may pass
            self._fail(f"{name} was not published: {exc}")

    def _fail(self, reason: str) -> None:
        self._report.fail(reason)
        if reason not in self._complained and len(self._complained) < _COMPLAINTS:
            self._complained.add(reason)
            log.warning("%s: %s", self._source.topic, reason)

    def _diagnose(self) -> None:
        """Publish how the pipeline is; waits for no frame."""
        self._count_failures()
        health, counts = self._pipeline.health, self._pipeline.counts
        status = self._report.report(
            time.monotonic_ns(),
            received=counts.captured,
            dropped=counts.dropped,
            judged=judge_health(health, self._source.connection),
            more={
                "state": health.state,
                "label maps dropped": str(self._subscription.counts.dropped),
                "restarts": str(health.restarts),
                "reconnects": str(health.reconnects),
            },
        )
        header = ros.Header(stamp=ros.Time.from_ns(time.time_ns()))
        self._publish("diagnostics", ros.DiagnosticArray(header=header, status=(status,)))

    def _count_failures(self) -> None:
        """Report what failed since the last time, of what others count."""
        error = self._subscription.error
        counted = {
            "an image could not be segmented; the log says why": self._pipeline.counts.failed,
            str(self._source.damaged): self._source.undecoded,
            f"a result was not published: {type(error).__name__}: {error}": self._subscription.counts.failed,
        }
        for number, (reason, count) in enumerate(counted.items()):
            if count > self._counted[number]:
                self._report.fail(reason, count - self._counted[number])
                self._counted[number] = count


def main(arguments: Sequence[str] | None = None) -> str | None:
    """Run the node on rclpy with ROS parameters, for ``ros2 run`` and launch files.

    Args:
        arguments: ROS arguments; ``None`` for those of the command line.

    Returns:
        What went wrong, for :func:`sys.exit`; ``None`` if it ran until it was stopped.
    """
    from edge_vseg.topics.rclpy_transport import RclpyTransport

    try:
        with RclpyTransport(NAME, arguments) as transport:
            _run_on_rclpy(transport)
    except EdgeVsegError as exc:
        return f"{type(exc).__name__}: {exc}"
    return None


def _run_on_rclpy(transport: RclpyTransport) -> None:
    options = _read_parameters(transport)
    image = transport.parameter("image", "/camera/image_raw")
    images: TopicImages = "compressed" if transport.parameter("compressed", False) else "raw"
    bundle = transport.parameter("bundle", "")
    deadline_ms, share = transport.parameter("deadline_ms", 0.0), transport.parameter("cpu_share", 1.0)
    runtime, threads = transport.parameter("runtime", "auto"), transport.parameter("threads", 0)
    if not bundle:
        raise OptionError("the parameter bundle is missing: --ros-args -p bundle:=street.evseg")
    policy = Deadline(milliseconds=deadline_ms, cpu_share=share) if deadline_ms else None
    source = TopicSource(transport, image, TopicOptions(images=images))
    with Pipeline.open(bundle, source, runtime=runtime, threads=threads, policy=policy) as pipeline:
        _run_until_shutdown(SegmentationNode(pipeline, source, transport, options), lambda: transport.running)


def _read_parameters(transport: RclpyTransport) -> NodeOptions:
    homography = transport.parameter("homography", "")
    free, resolution_m = transport.parameter("free", ["road"]), transport.parameter("resolution_m", 0.1)
    frame_id = transport.parameter("ground_frame", "base_link")
    ground = None
    if homography:
        matrix, image_hw = read_homography(Path(homography))
        ground = GroundOptions(
            homography=matrix,
            image_hw=image_hw,
            free=tuple(free),
            resolution_m=resolution_m,
            frame_id=frame_id,
        )
    return NodeOptions(namespace=transport.parameter("namespace", f"/{NAME}"), ground=ground)


def _run_until_shutdown(node: SegmentationNode, running: Callable[[], bool]) -> None:
    stop = threading.Event()

    def watch() -> None:
        while running() and not stop.wait(0.2):
            pass
        stop.set()

    watcher = threading.Thread(target=watch, name="ros2 shutdown", daemon=True)
    watcher.start()
    try:
        node.run(stop)
    except KeyboardInterrupt:
        log.info("stopped")
    finally:
        stop.set()
        watcher.join()
