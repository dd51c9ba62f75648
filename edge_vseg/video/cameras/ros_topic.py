"""A ROS 2 camera topic as a source of frames: ``ros2:/camera/image_raw``."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast
from urllib.parse import parse_qsl

from edge_vseg.errors import CameraPackageError, MessageError, OptionError, TransportError, VideoDecodeError
from edge_vseg.input_files import whole_number
from edge_vseg.messages import definitions as ros
from edge_vseg.messages.images import CameraMessage, to_bgr
from edge_vseg.topics.dds import MAX_DOMAIN, DdsTransport
from edge_vseg.topics.port import TopicQos, TopicSubscription, Transport, check_topic
from edge_vseg.types import Frame
from edge_vseg.video.cameras.topic_inbox import Arrival, TopicInbox
from edge_vseg.video.options import BufferOptions, InputOptions
from edge_vseg.video.port import Connection, FrameCounts, Source

log = logging.getLogger(__name__)

HEADERS_KEPT = 64
_WAIT_S = 0.5
_PATIENCE_S = 2.0
"""A silence is told in the log after so long: participants take about a second to find each other."""

TopicImages: TypeAlias = Literal["raw", "compressed"]
_KINDS: dict[TopicImages, type[CameraMessage]] = {"raw": ros.Image, "compressed": ros.CompressedImage}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOptions:
    """How a camera topic is read.

    Attributes:
        images: Whether it has ``raw`` images (``sensor_msgs/Image``) or ``compressed`` ones.
        reliability: ``best_effort`` hears every publisher; ``reliable`` only reliable ones, and what is lost on the
            network is sent again.
        buffer: Which images a slow reader gets. The network keeps as many on its way.
        give_up_s: Seconds without an image after which reading fails; ``None`` for never.
    """

    images: TopicImages = "raw"
    reliability: Literal["best_effort", "reliable"] = "best_effort"
    buffer: BufferOptions = field(default_factory=BufferOptions)
    give_up_s: float | None = None

    def __post_init__(self) -> None:
        """Raise OptionError if a value is unknown."""
        if self.images not in _KINDS:
            raise OptionError(f"images must be raw or compressed, got {self.images!r}")

    @property
    def qos(self) -> TopicQos:
        """Quality of service of the subscription."""
        return TopicQos(reliability=self.reliability, depth=self.buffer.bound)


_DEFAULT = TopicOptions()


class TopicSource(Source):
    """The newest image of a topic, each at most once.

    It waits for a camera that is silent or not there, and says so in :attr:`connection`; :meth:`interrupt` and
    :meth:`close` from any thread end the wait. Size and encoding may change from image to image. A frame's
    ``capture_ns`` is when its message arrived; its stamp and frame id are in :meth:`header_of`.

    Attributes:
        topic: The topic, by its name on the network: after the transport's remappings.

    Args:
        transport: Open; the source leaves it open.
        topic: Such as ``/camera/image_raw``.
        options: How it is read.
        on_release: Called when the source is closed.

    Raises:
        OptionError: If the topic is not a name that ROS 2 allows.
        TransportError: If it cannot be opened.
    """

    def __init__(
        self,
        transport: Transport,
        topic: str,
        options: TopicOptions = _DEFAULT,
        on_release: Callable[[], object] = lambda: None,
    ) -> None:
        name = check_topic(topic)
        super().__init__(name=f"ros2:{name}")
        self._kind = _KINDS[options.images]
        self._give_up_s = options.give_up_s
        self._on_release = on_release
        self._inbox = TopicInbox(options.buffer)
        self._headers: OrderedDict[int, ros.Header] = OrderedDict()
        self._interrupted = False
        self._first_ns: int | None = None
        self._undecoded, self._fault = 0, ""
        self._unreadable_ns: int | None = None
        self._told_lost = False
        self._subscription: TopicSubscription = transport.subscribe(name, self._kind, options.qos, self._inbox.put)
        self.topic = self._subscription.topic
        self.name = f"ros2:{self.topic}"

    @property
    def fps(self) -> float | None:
        """Unknown: a topic does not tell its rate."""
        return None

    @property
    def is_live(self) -> bool:
        """Always true."""
        return True

    @property
    def counts(self) -> FrameCounts:
        """Where the images went; those that could not be decoded count as dropped."""
        return self._inbox.counts

    @property
    def undecoded(self) -> int:
        """Images that could not be decoded so far."""
        return self._undecoded

    @property
    def damaged(self) -> str | None:
        """How many images could not be decoded, and why; ``None`` if there were none."""
        if not self._undecoded:
            return None
        return f"{self.name}: {self._undecoded} images could not be decoded, the last one: {self._fault}"

    @property
    def connection(self) -> Connection:
        """``reconnecting`` while no image comes, or none that can be decoded."""
        if self._end_seen is not None:
            return self._end_seen
        seen, unreadable_ns = self._inbox.presence, self._unreadable_ns
        silent_s = (time.monotonic_ns() - (seen.last_ns or self._opened_ns)) / 1e9
        if seen.last_ns is None or silent_s > seen.silence_s:
            since_ns, reason = seen.last_ns or self._opened_ns, self._why_silent(silent_s, seen.last_ns is None)
        elif unreadable_ns is not None:
            since_ns, reason = unreadable_ns, f"its images cannot be decoded: {self._fault}"
        else:
            return Connection(state="connected", since_ns=seen.back_ns, reconnects=seen.returns)
        return Connection(state="reconnecting", since_ns=since_ns, reason=reason, reconnects=seen.returns)

    def _why_silent(self, silent_s: float, is_first: bool) -> str:
        try:
            publishers = self._subscription.publisher_count
        except TransportError as exc:  # ROS 2 was shut down meanwhile
            return f"no image for {silent_s:.1f} s: {exc}"
        if is_first:
            return "no image yet" if publishers else f"nobody publishes {self._kind.type_name} on it yet"
        return f"no image for {silent_s:.1f} s, and {'its publisher is there' if publishers else 'nobody publishes it'}"

    def header_of(self, seq: int) -> ros.Header | None:
        """Stamp and frame id of one of the last 64 frames; ``None`` for an older one."""
        return self._headers.get(seq)

    def __enter__(self) -> TopicSource:
        """Return the source itself."""
        return self

    def interrupt(self) -> None:
        """End the wait for an image."""
        self._interrupted = True
        self._inbox.close()

    def _expected_frames(self) -> int | None:
        return None

    def _read(self) -> Frame | None:
        began_ns = time.monotonic_ns()
        while not (self._closed or self._interrupted):
            arrival = self._inbox.take(_WAIT_S)
            frame = None if arrival is None else self._decode(arrival)
            if frame is not None:
                if self._told_lost:
                    log.warning("%s: it is back", self.name)
                self._told_lost = False
                return frame
            self._bear((time.monotonic_ns() - began_ns) / 1e9)
        return None

    def _decode(self, arrival: Arrival) -> Frame | None:
        try:
            image = to_bgr(arrival.message)
        except MessageError as exc:
            self._inbox.discard()
            self._undecoded += 1
            self._fault = str(exc)
            if self._unreadable_ns is None:
                self._unreadable_ns = arrival.arrival_ns
                log.warning("%s: %s", self.name, exc)
            return None
        self._unreadable_ns = None
        if self._first_ns is None:
            self._first_ns = arrival.arrival_ns
        self._headers[arrival.seq] = arrival.message.header
        if len(self._headers) > HEADERS_KEPT:
            self._headers.popitem(last=False)
        return Frame(
            image=image,
            seq=arrival.seq,
            capture_ns=arrival.arrival_ns,
            pts_ns=arrival.arrival_ns - self._first_ns,
            source_name=self.name,
        )

    def _bear(self, waited_s: float) -> None:
        """Say once that no image comes, and give up when it is time to."""
        if self._give_up_s is not None and waited_s >= self._give_up_s:
            raise VideoDecodeError(
                f"{self.name}: given up after {waited_s:.1f} s without an image ({self.connection.reason}); check it"
                " with `ros2 topic info -v`, and the domain"
            )
        if waited_s >= _PATIENCE_S and not self._told_lost and self._unreadable_ns is None:
            connection = self.connection
            if connection.state != "reconnecting":  # a topic of a slow camera
                return
            self._told_lost = True
            log.warning("%s: %s; it is waited for", self.name, connection.reason)

    def _release(self) -> None:
        self._inbox.close()
        self._on_release()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAddress:
    """What an address asks for.

    Attributes:
        topic: Name of the topic, with its leading slash.
        images: ``raw`` or ``compressed``.
        reliability: ``best_effort`` or ``reliable``.
        domain: ROS 2's domain; ``None`` for that of ``ROS_DOMAIN_ID``.
        interface: The only network interface to use; empty for any.
    """

    topic: str
    images: TopicImages
    reliability: Literal["best_effort", "reliable"] = "best_effort"
    domain: int | None = None
    interface: str = ""


def parse_topic(address: str) -> TopicAddress:
    """Read ``ros2:/camera/image_raw?images=compressed&reliability=reliable&domain=3&interface=lo``.

    A topic whose name ends in ``/compressed`` has compressed images unless the address says otherwise, as
    ``image_transport`` names it.

    Raises:
        OptionError: If it is not of that form.
    """
    name, _, query = address.partition(":")[2].partition("?")
    topic = check_topic(name)
    given = dict(parse_qsl(query, keep_blank_values=True))
    images = given.pop("images", "compressed" if topic.endswith("/compressed") else "raw")
    reliability, domain = given.pop("reliability", "best_effort"), given.pop("domain", None)
    interface = given.pop("interface", "")
    if given:
        raise OptionError(
            f"{address}: there is no {next(iter(given))!r}; known: images, reliability, domain, interface"
        )
    if images not in _KINDS:
        raise OptionError(f"{address}: images must be raw or compressed, got {images!r}")
    if reliability not in ("best_effort", "reliable"):
        raise OptionError(f"{address}: reliability must be best_effort or reliable, got {reliability!r}")
    number = None if domain is None else whole_number(domain, most=MAX_DOMAIN)
    if domain is not None and number is None:
        raise OptionError(f"{address}: a domain is a number from 0 to {MAX_DOMAIN}, got {domain!r}")
    return TopicAddress(
        topic=topic,
        images=images,
        reliability=cast(Literal["best_effort", "reliable"], reliability),
        domain=number,
        interface=interface,
    )


def open_topic(address: str, options: InputOptions) -> TopicSource:
    """Open a topic by its address, with a DDS participant of its own.

    Args:
        address: See :func:`parse_topic`.
        options: Buffer, and when to give up. Publisher and reader find each other in any order and again, so the topic
            is opened once; without ``reconnect``, reading fails after a stall.

    Raises:
        CameraPackageError: If ``cyclonedds`` is not installed.
        TransportError: If the domain or interface cannot be used.
        OptionError: If the address is malformed.
    """
    wanted = parse_topic(address)
    try:
        transport = DdsTransport(wanted.domain, wanted.interface)
    except TransportError as exc:
        if isinstance(exc.__cause__, ImportError):
            raise CameraPackageError(f"ros2:{wanted.topic}: {exc}") from exc
        raise
    read = TopicOptions(
        images=wanted.images,
        reliability=wanted.reliability,
        buffer=options.buffer,
        give_up_s=options.stall_s if options.reconnect is None else options.reconnect.give_up_s,
    )
    try:
        return TopicSource(transport, wanted.topic, read, transport.close)
    except BaseException:
        transport.close()
        raise
