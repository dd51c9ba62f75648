"""Be a camera and a listener for ``edge-vseg ros2``: publish a video as a topic, and print what the label images show.

    edge-vseg ros2 street.evseg --image /camera/image_raw &
    python examples/ros2/publish_video.py drive.mp4 --topic /camera/image_raw

No ROS installation is needed. Where there is one, ``ros2 topic echo`` and RViz show the same topics.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from edge_vseg import open_source
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import raw_image
from edge_vseg.topics.dds import DdsTransport
from edge_vseg.topics.port import LATCHED, RELIABLE, SENSOR_DATA


class Listener:
    """Prints the largest class of each label image, by the names that the node tells."""

    def __init__(self, transport: DdsTransport, namespace: str) -> None:
        self.heard = 0
        self.names: dict[int, str] = {}
        transport.subscribe(f"{namespace}/label_info", ros.LabelInfo, LATCHED, self._learn)
        transport.subscribe(f"{namespace}/labels", ros.Image, RELIABLE, self._show)

    def _learn(self, info: ros.LabelInfo) -> None:
        self.names = {each.class_id: each.class_name for each in info.class_map}

    def _show(self, labels: ros.Image) -> None:
        self.heard += 1
        counts = np.bincount(labels.data, minlength=256)
        largest = int(counts.argmax())
        age_ms = (time.time_ns() - labels.header.stamp.total_ns) / 1e6
        name = self.names.get(largest, f"class {largest}")
        print(f"{counts[largest] / counts.sum():.0%} {name}, {age_ms:.1f} ms after it was published", flush=True)


def main() -> None:
    """Publish in real time, until the video ends or Ctrl-C is pressed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="file, camera number or stream")
    parser.add_argument("--topic", default="/camera/image_raw")
    parser.add_argument("--namespace", default="/edge_vseg", help="where the node's topics begin")
    parser.add_argument("--domain", type=int, help="by default that of ROS_DOMAIN_ID")
    parser.add_argument("--interface", default="", help="the only network interface to use, such as lo")
    arguments = parser.parse_args()
    with DdsTransport(arguments.domain, arguments.interface) as transport:
        listener = Listener(transport, arguments.namespace)
        camera = transport.publisher(arguments.topic, ros.Image, SENSOR_DATA)
        while not (camera.subscriber_count and listener.names):
            time.sleep(0.1)
        sent = 0
        with open_source(arguments.video, live=True) as frames:
            for frame in frames:
                header = ros.Header(stamp=ros.Time.from_ns(time.time_ns()), frame_id="camera")
                camera.publish(raw_image(frame.image, "bgr8", header))
                sent += 1
        time.sleep(0.5)  # for the last label image
        print(f"{sent} images published, {listener.heard} label images heard")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
