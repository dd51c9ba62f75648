"""Write messages to an MCAP file that Foxglove and ``ros2 bag`` open."""

from __future__ import annotations

import contextlib
from importlib import metadata
from pathlib import Path
from types import TracebackType

from edge_vseg.errors import OptionError, OutputError, RecordingError
from edge_vseg.files import StagedFile, cannot_write
from edge_vseg.messages.cdr import encode_message
from edge_vseg.messages.fields import Message
from edge_vseg.messages.schema import schema_text
from edge_vseg.recording.packages import load_mcap

_LEAST_BYTES = 4096
"""A smaller file has no chunk."""


class McapWriter:
    """Writes ROS 2's messages with their standard schemas (``ros2msg``) as CDR, in chunks that Zstandard compresses.

    Each chunk of about a megabyte goes to a hidden file beside the target as soon as it is full: after a crash or a
    power cut, what was written until then can be read there. Closing adds the index and moves it to the target.

    Attributes:
        path: The file.
        messages: Messages written so far.
    """

    def __init__(self, path: Path) -> None:
        """Create the hidden file; an older recording stays until this one is closed.

        Raises:
            OptionError: If the name does not end in ``.mcap``.
            RecordingError: If it cannot be created, or the package ``mcap`` is missing.
        """
        if path.suffix.lower() != ".mcap":
            raise OptionError(f"{path}: a recording is an MCAP file; give a name that ends in .mcap")
        writer = load_mcap("writer")
        self.path = path
        self.messages = 0
        self._closed = False
        self._schemas: dict[type[Message], int] = {}
        self._channels: dict[str, tuple[int, type[Message]]] = {}
        try:
            self._staged = StagedFile(path)
        except OutputError as exc:
            raise RecordingError(str(exc)) from exc
        try:
            self._stream = self._staged.path.open("wb")
            self._writer = writer.Writer(self._stream)
            self._writer.start(profile="ros2", library=f"edge-vseg {metadata.version('edge-vseg')}")
        except OSError as exc:
            self._staged.discard()
            raise RecordingError(str(cannot_write(path, exc))) from exc

    def write(self, topic: str, message: Message, log_ns: int) -> None:
        """Append a message.

        Args:
            topic: Such as ``/edge_vseg/labels``; all its messages are of one type.
            message: The message.
            log_ns: Its time in nanoseconds of the Unix epoch; for a message with a header, that of its stamp.

        Raises:
            OptionError: If the topic has messages of another type.
            RecordingError: If the recording is closed, or the disk is full.
        """
        if self._closed:
            raise RecordingError(f"{self.path}: the recording is closed; open a new one")
        channel = self._channel(topic, type(message))
        try:
            self._writer.add_message(
                channel_id=channel, log_time=log_ns, publish_time=log_ns, sequence=0, data=encode_message(message)
            )
            self._stream.flush()  # does nothing until a chunk is full
        except OSError as exc:
            raise self._failed(exc) from exc
        self.messages += 1

    def _channel(self, topic: str, kind: type[Message]) -> int:
        if topic not in self._channels:
            if kind not in self._schemas:
                text = schema_text(kind).encode()
                self._schemas[kind] = self._writer.register_schema(kind.type_name, "ros2msg", text)
            number = self._writer.register_channel(topic=topic, message_encoding="cdr", schema_id=self._schemas[kind])
            self._channels[topic] = (number, kind)
        number, known = self._channels[topic]
        if known is not kind:
            raise OptionError(f"{topic} has messages of {known.type_name}, got {kind.type_name}; use another topic")
        return number

    def close(self) -> None:
        """Write the index and move the file to the target, unless it has no message. Calling it twice does nothing.

        Raises:
            RecordingError: If the disk is full; what was written before can still be read, and the message says where.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._writer.finish()
            self._stream.close()
        except OSError as exc:
            raise self._failed(exc) from exc
        if not self.messages:
            self._staged.discard()
            return
        try:
            self._staged.commit()
        except OutputError as exc:
            raise RecordingError(str(exc)) from exc

    def _failed(self, exc: OSError) -> RecordingError:
        """Leave what can be read of the recording, and say where it is."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._stream.close()  # tries once more to write the rest
        part, kept = self._staged.path, ""
        if part.exists() and part.stat().st_size > _LEAST_BYTES:
            self._staged.keep()
            kept = f"; what was recorded until then is in {part.name}: give it a name that ends in .mcap to read it"
        else:
            self._staged.discard()
        return RecordingError(f"{cannot_write(self.path, exc)}{kept}")

    def __enter__(self) -> McapWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, also after an error."""
        self.close()
