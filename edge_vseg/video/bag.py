"""Frames from a recorded camera topic: MCAP files and rosbag2 folders, with the times of their messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from edge_vseg.errors import MessageError, OptionError, RecordingError, VideoDecodeError
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.cdr import decode_message
from edge_vseg.messages.images import CameraMessage, to_bgr
from edge_vseg.recording import Bag, RecordedMessage, RecordedTopic, is_bag, open_bag
from edge_vseg.types import Frame
from edge_vseg.video.paths import check_exists
from edge_vseg.video.port import Source
from edge_vseg.video.recorded_times import RecordedTimes

logger = logging.getLogger(__name__)

_KINDS: dict[str, type[CameraMessage]] = {
    "sensor_msgs/msg/Image": ros.Image,
    "sensor_msgs/msg/CompressedImage": ros.CompressedImage,
}
_RESULTS = ("labels", "overlay", "overlay/compressed", "uncertainty", "age")


def find_bag(source: object) -> tuple[Path, str] | None:
    """The recording that an address names, and the topic behind its colon, empty if there is none.

    ``None`` for anything that is not a recording: ``drive.mcap``, ``drive.mcap:/camera/image_raw``, ``rosbag2_folder``.
    """
    if not isinstance(source, str | Path) or "://" in str(source):
        return None
    path, colon, topic = str(source).rpartition(":/")
    if colon and is_bag(Path(path)):
        return Path(path), f"/{topic}"
    return (Path(source), "") if is_bag(Path(source)) else None


class BagSource(Source):
    """The images of one topic of a recording, raw or compressed.

    Times come from the messages' own stamps; from the recorder's clock where they have none, and where the robot's
    clock was stepped. An image that cannot be decoded is left out, and counted in :attr:`damaged`.

    Attributes:
        topic: The topic.
        frame_id: Coordinate frame of the last image.
    """

    def __init__(self, path: Path, topic: str = "") -> None:
        """Open the recording.

        Args:
            path: MCAP file, ``.db3`` file or rosbag2 folder.
            topic: Its topic; empty for the only one with images of a camera.

        Raises:
            VideoNotFoundError: If there is nothing at that path.
            RecordingError: If it cannot be read, or the topic is not there or not the only one.
        """
        check_exists(path)
        super().__init__(name=str(path))
        self._bag = open_bag(path)
        try:
            chosen = _choose(self._bag, path, topic)
            self._messages: Iterator[RecordedMessage] = self._bag.messages(chosen.name)
        except BaseException:
            self._bag.close()
            raise
        self.topic = chosen.name
        self.frame_id = ""
        self._times = RecordedTimes()
        self._kind = _KINDS[chosen.type_name]
        self._count = chosen.count
        self._span_ns = chosen.span_ns
        self._next = 0
        self._undecoded = 0

    @property
    def fps(self) -> float | None:
        """Mean rate of the recorded messages; ``None`` if the recording does not tell."""
        if not self._count or self._count < 2 or not self._span_ns:
            return None
        return (self._count - 1) * 1e9 / self._span_ns

    @property
    def damaged(self) -> str | None:
        """What was wrong with the images read so far; ``None`` if nothing."""
        if self._undecoded:
            return f"{self.name}: {self._undecoded} images of {self.topic} could not be decoded"
        return self._bag.damaged

    @property
    def start_ns(self) -> int | None:
        """Stamp of the first image, nanoseconds of the robot's clock; ``None`` before it was read."""
        return self._times.start_ns

    def stamp_ns(self, frame: Frame) -> int:
        """The stamp of a frame that was read, nanoseconds of the robot's clock as it was then."""
        assert frame.pts_ns is not None
        return self._times.stamp_ns(frame.pts_ns)

    @property
    def has_capture_times(self) -> bool:
        """Always false: the images are from before."""
        return False

    def _expected_frames(self) -> int | None:
        return self._count

    def _read(self) -> Frame | None:
        for recorded in self._messages:
            seq, self._next = self._next, self._next + 1
            try:
                message = decode_message(self._kind, recorded.data)
                image = to_bgr(message)
            except MessageError as exc:
                self._skip(seq, exc)
                continue
            stamp_ns = message.header.stamp.total_ns or recorded.log_ns
            self.frame_id = message.header.frame_id
            return Frame(
                image=image,
                seq=seq,
                capture_ns=time.monotonic_ns(),
                pts_ns=self._times.follow(stamp_ns, recorded.log_ns),
                source_name=self.name,
            )
        if self.damaged:
            logger.warning("%s", self.damaged)
        return None

    def _skip(self, seq: int, error: MessageError) -> None:
        # An encoding that is not read is that of all images, so the first one ends it.
        if seq == 0:
            raise VideoDecodeError(f"{self.name}: {self.topic}: {error}") from error
        if not self._undecoded:
            logger.warning("%s: image %d of %s is left out: %s", self.name, seq, self.topic, error)
        self._undecoded += 1

    def _release(self) -> None:
        self._bag.close()


def open_bag_source(found: tuple[Path, str], *, codec_motion: bool) -> BagSource:
    """Open what :func:`find_bag` found.

    Raises:
        OptionError: If motion vectors of a codec are asked for.
        RecordingError: If it cannot be read.
    """
    if codec_motion:
        raise OptionError(f"{found[0]}: a recording has no codec motion vectors; use optical flow (--set motion=dis)")
    return BagSource(*found)


def _is_result(topic: str, bag: Bag) -> bool:
    """Whether a topic is one of those that `record` and the ROS 2 node write, beside the names of the classes."""
    ends = [end for end in _RESULTS if topic.endswith(f"/{end}")]
    return any(f"{topic.removesuffix(end)}label_info" in {each.name for each in bag.topics} for end in ends)


def _choose(bag: Bag, path: Path, topic: str) -> RecordedTopic:
    cameras = [each for each in bag.topics if each.type_name in _KINDS and each.count != 0]
    if topic:
        cameras = [each for each in cameras if each.name == topic]
    results = [] if topic else [each for each in cameras if _is_result(each.name, bag)]
    if results:
        cameras = [each for each in cameras if each not in results]
    if len(cameras) == 1:
        return cameras[0]
    if len(cameras) > 1:
        names = ", ".join(each.name for each in cameras)
        raise RecordingError(f"{path} has images on {names}; name one behind a colon: {path}:{cameras[0].name}")
    if results:
        names = ", ".join(each.name for each in results)
        raise RecordingError(
            f"{path} has no images of a camera, only what a network made of them, on {names}; give the recording of the"
            f" camera, or name one of them behind a colon: {path}:{results[0].name}"
        )
    known = ", ".join(f"{each.name} ({each.type_name})" for each in bag.topics) or "none"
    wanted = f"no images on {topic}" if topic else "no images (sensor_msgs/msg/Image or CompressedImage)"
    raise RecordingError(f"{path} has {wanted}; its topics: {known}")
