"""``edge-vseg ros2``."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape

from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.cli import console
from edge_vseg.cli.live_options import LiveOptions, takes_live_options
from edge_vseg.cli.options import (
    BundleArgument,
    MaxFramesOption,
    needs_codec_motion,
    parse_names,
)
from edge_vseg.errors import OptionError
from edge_vseg.machine.systemd import watched
from edge_vseg.pipeline import Pipeline
from edge_vseg.pipeline.service import service_sign
from edge_vseg.ros2.ground_grid import GroundOptions, read_homography
from edge_vseg.ros2.node import NodeOptions, SegmentationNode
from edge_vseg.ros2.outputs import UncertaintyEncoding
from edge_vseg.signals import sigterm_as_interrupt
from edge_vseg.topics.port import RELIABLE, SENSOR_DATA, check_topic
from edge_vseg.video.cameras.ros_topic import TopicOptions, TopicSource


@takes_live_options
def ros2(
    bundle: BundleArgument,
    image: Annotated[str, typer.Option("--image", help="Topic of the camera, such as /camera/image_raw.")],
    *,
    compressed: Annotated[
        bool, typer.Option("--compressed", help="The topic has sensor_msgs/CompressedImage (JPEG or PNG).")
    ] = False,
    namespace: Annotated[str, typer.Option("--namespace", help="Where the node's topics begin.")] = "/edge_vseg",
    domain: Annotated[
        int | None, typer.Option("--domain", help="ROS 2's domain, 0 to 232; by default that of ROS_DOMAIN_ID.")
    ] = None,
    interface: Annotated[
        str, typer.Option("--interface", help="The only network interface to use; lo keeps all on this machine.")
    ] = "",
    best_effort: Annotated[
        bool, typer.Option("--best-effort", help="Label images that are lost on the network are not sent again.")
    ] = False,
    uncertainty: Annotated[
        str, typer.Option("--uncertainty-encoding", help="32FC1 (0 to 1) or mono8 (0 to 255).")
    ] = "32FC1",
    homography: Annotated[
        Path | None,
        typer.Option("--homography", help="JSON file of the ground plane; publishes nav_msgs/OccupancyGrid."),
    ] = None,
    free: Annotated[
        str | None,
        typer.Option("--free", help="With --homography: classes to drive on, between commas.", show_default="road"),
    ] = None,
    resolution_m: Annotated[
        float | None,
        typer.Option("--resolution", help="With --homography: metres per cell.", min=0.001, show_default="0.1"),
    ] = None,
    ground_frame: Annotated[
        str | None,
        typer.Option(
            "--ground-frame", help="With --homography: coordinate frame of its metres.", show_default="base_link"
        ),
    ] = None,
    live: LiveOptions,
    max_frames: MaxFramesOption = None,
) -> None:
    """Segment a ROS 2 camera topic. Needs no ROS installation. Ctrl-C ends it."""
    runtime_options, schedule = live.read(bundle, RuntimeOptions())
    if needs_codec_motion(schedule):
        raise OptionError("a ROS 2 topic has no codec motion vectors; use optical flow (--set motion=dis)")
    of_ground = {"--free": free, "--resolution": resolution_m, "--ground-frame": ground_frame}
    if homography is None and (names := [name for name, value in of_ground.items() if value is not None]):
        raise OptionError(f"{', '.join(names)}: of the ground plane; give its --homography, too")
    ground = None
    if homography is not None:
        matrix, image_hw = read_homography(homography)
        ground = GroundOptions(
            homography=matrix,
            image_hw=image_hw,
            free=parse_names("road" if free is None else free),
            resolution_m=0.1 if resolution_m is None else resolution_m,
            frame_id="base_link" if ground_frame is None else ground_frame,
        )
    topic = check_topic(image)
    options = NodeOptions(
        namespace=namespace,
        labels_qos=SENSOR_DATA if best_effort else RELIABLE,
        uncertainty=cast(UncertaintyEncoding, uncertainty),
        ground=ground,
        max_frames=max_frames,
    )
    from edge_vseg.topics.dds import DdsTransport

    with (
        DdsTransport(domain, interface) as transport,
        TopicSource(transport, topic, TopicOptions(images="compressed" if compressed else "raw")) as source,
        Pipeline(lambda: runtime_options.open_segmenter(bundle, schedule), source, policy=schedule) as pipeline,
    ):
        node = SegmentationNode(pipeline, source, transport, options)
        console.err.print(
            escape(f"{pipeline.variant} on {pipeline.provider}: {topic} -> {namespace}/labels"),
            highlight=False,
        )
        # A node runs until it is stopped, so that is no failure: the exit code is 0.
        with (
            contextlib.suppress(KeyboardInterrupt),
            sigterm_as_interrupt(),
            watched(lambda: service_sign([pipeline.health], time.monotonic_ns())),
        ):
            node.run(threading.Event())
        console.out.print(f"{node.results} label maps", highlight=False)
