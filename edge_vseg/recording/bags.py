"""The port of recordings, and how one is recognised and opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.errors import RecordingError

_METADATA = "metadata.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTopic:
    """A topic of a recording.

    Attributes:
        name: Such as ``/camera/image_raw``.
        type_name: Its messages' type, such as ``sensor_msgs/msg/Image``.
        count: Its messages; ``None`` if the recording does not tell.
        span_ns: From the first message of the recording to the last; 0 if it does not tell.
    """

    name: str
    type_name: str
    count: int | None = None
    span_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMessage:
    """A message as it was received.

    Attributes:
        log_ns: When it was recorded, nanoseconds of the recorder's clock.
        data: Its bytes; see :mod:`edge_vseg.messages.cdr`.
    """

    log_ns: int
    data: bytes


class Bag(ABC):
    """A recording that is open for reading; close it."""

    @property
    @abstractmethod
    def topics(self) -> tuple[RecordedTopic, ...]:
        """Its topics, by name."""

    @property
    @abstractmethod
    def damaged(self) -> str | None:
        """Why messages are missing at the end; ``None`` if none are, as far as was read."""

    @abstractmethod
    def messages(self, topic: str) -> Iterator[RecordedMessage]:
        """The messages of a topic in the order in which they were recorded.

        Raises:
            RecordingError: If they are not CDR.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the files; calling it twice does nothing."""


def is_bag(path: Path) -> bool:
    """Whether a path is that of an MCAP file or of a rosbag2 (its folder, or one ``.db3`` file)."""
    if path.suffix.lower() in (".mcap", ".db3"):
        return True
    try:
        return (path / _METADATA).is_file()
    except OSError:  # an address may be too long for a file's name
        return False


def open_bag(path: Path) -> Bag:
    """Open a recording.

    Raises:
        RecordingError: If it cannot be read, or the package ``mcap`` is missing.
    """
    files = _files(path)
    if not files:
        raise RecordingError(f"{path}: expected .mcap or .db3 files in the folder; there are none")
    if files[0].suffix == ".zstd":
        raise RecordingError(f"{files[0]} is compressed as a whole; decompress it first (zstd -d)")
    try:
        if files[0].suffix.lower() == ".mcap":
            from edge_vseg.recording.mcap_reader import McapBag

            return McapBag(files)
        from edge_vseg.recording.sqlite_reader import SqliteBag

        return SqliteBag(files)
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror}; check its path and permissions") from exc


def _files(path: Path) -> list[Path]:
    """The storage files, in the order in which they were recorded: their names end in ``_0``, ``_1``, and so on."""
    if not path.is_dir():
        return [path]
    for pattern in ("*.mcap", "*.db3", "*.zstd"):
        files = sorted(path.glob(pattern), key=lambda file: (len(file.name), file.name))
        if files:
            return files
    return []
