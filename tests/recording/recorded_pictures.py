"""Pictures with a number, written as others record them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags import rosbag2
from rosbags.typesys import Stores, get_typestore

START_NS = 1_700_000_000_500_000_000
PERIOD_NS = 66_666_667
CAMERA = "/camera/image_raw"


def picture(number: int) -> np.ndarray:
    image = np.full((48, 64, 3), (200, 40, 40), np.uint8)
    image[12:36, 4 * number : 4 * number + 16] = (30, 30, 220)
    return image


def write_rosbag2(
    folder: Path, storage: str, count: int = 6, topics: tuple[str, ...] = (CAMERA,), **image: object
) -> Path:
    """A bag by rosbags: its own serializer, its own storage."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    plugin = {"sqlite3": rosbag2.StoragePlugin.SQLITE3, "mcap": rosbag2.StoragePlugin.MCAP}[storage]
    with rosbag2.Writer(folder, version=9, storage_plugin=plugin) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)
            for number in range(6):
                stamp = divmod(START_NS + number * PERIOD_NS, 10**9)
                values = {"height": 48, "width": 64, "encoding": "bgr8", "is_bigendian": 0, "step": 192} | image
                message = types["sensor_msgs/msg/Image"](
                    header=types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*stamp), "front"),
                    data=picture(number).reshape(-1),
                    **values,
                )
                # Recorded 20 ms after the stamp, as over a network.
                log_ns = START_NS + number * PERIOD_NS + 20_000_000
                writer.write(connection, log_ns, store.serialize_cdr(message, "sensor_msgs/msg/Image"))
    return folder
