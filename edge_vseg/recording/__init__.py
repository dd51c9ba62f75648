"""Recordings of ROS 2 topics: read MCAP files and rosbag2 folders, write MCAP."""

from edge_vseg.recording.bags import Bag, RecordedMessage, RecordedTopic, is_bag, open_bag
from edge_vseg.recording.mcap_writer import McapWriter

__all__ = ["Bag", "McapWriter", "RecordedMessage", "RecordedTopic", "is_bag", "open_bag"]
