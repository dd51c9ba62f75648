"""Read MCAP files, also those whose end is missing."""

from __future__ import annotations

import importlib
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from edge_vseg.errors import RecordingError
from edge_vseg.recording.bags import Bag, RecordedMessage, RecordedTopic
from edge_vseg.recording.packages import load_mcap

_STEPPED_NS = 10_000_000_000
"""Times that go back by so much tell of a clock that was set; less is a recorder that writes with several threads."""


class McapBag(Bag):
    """One or more MCAP files of one recording."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read their summaries.

        Raises:
            RecordingError: If one is no MCAP file.
        """
        self._reader = load_mcap("reader")
        self._stream_reader = load_mcap("stream_reader")
        # Damaged chunks end in errors of the decompressor, too: zstd's own, and RuntimeError of lz4.
        of_packages = load_mcap("exceptions").McapError, importlib.import_module("zstandard").ZstdError
        self._broken = (*of_packages, struct.error, ValueError, EOFError, RuntimeError, KeyError)
        self._files = tuple(files)
        self._streams: list[IO[bytes]] = []
        self._damaged: str | None = None
        self._types: dict[str, str] = {}
        self._encodings: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._span_ns = 0
        try:
            self._complete = [self._read_summary(file) for file in files]
        except BaseException:
            self.close()
            raise

    def _read_summary(self, file: Path) -> bool:
        """Note the topics of a file; false if it has no summary, because its end is missing."""
        stream = file.open("rb")
        self._streams.append(stream)
        try:
            reader = self._reader.SeekingReader(stream)
        except self._broken as exc:
            raise RecordingError(f"{file} is not an MCAP file, or is empty; give another file") from exc
        try:
            summary = reader.get_summary()
        except (*self._broken, OSError):  # OSError: shorter than a footer
            summary = None
        if summary is None or not summary.channels or summary.statistics is None:
            self._scan(stream)
            return False
        for number, channel in summary.channels.items():
            schema = summary.schemas.get(channel.schema_id)
            self._note(channel, schema, summary.statistics.channel_message_counts.get(number, 0))
        self._span_ns += summary.statistics.message_end_time - summary.statistics.message_start_time
        return True

    def _scan(self, stream: IO[bytes]) -> None:
        """Note the topics of a file without a summary by reading all of it."""
        schemas: dict[int, Any] = {}
        channels: dict[int, Any] = {}
        first_ns = last_ns = None
        for record in self._records(stream):
            match type(record).__name__:
                case "Schema":
                    schemas[record.id] = record
                case "Channel":
                    channels[record.id] = record
                    self._note(record, schemas.get(record.schema_id), 0)
                case "Message":
                    self._counts[channels[record.channel_id].topic] += 1
                    first_ns, last_ns = first_ns or record.log_time, record.log_time
        if first_ns is not None and last_ns is not None:
            self._span_ns += last_ns - first_ns

    def _note(self, channel: Any, schema: Any, count: int) -> None:
        self._types[channel.topic] = "" if schema is None else schema.name
        self._encodings[channel.topic] = channel.message_encoding
        self._counts[channel.topic] += count

    def _records(self, stream: IO[bytes]) -> Iterator[Any]:
        """The records of a file up to where it is damaged."""
        stream.seek(0)
        try:
            yield from self._stream_reader.StreamReader(stream, validate_crcs=True).records
        except self._stream_reader.CRCValidationError as exc:
            self._damaged = _damage(stream.name, exc)
        except self._broken as exc:
            self._damaged = f"{stream.name}: the end is missing ({type(exc).__name__}); what comes before it was read"

    @property
    def topics(self) -> tuple[RecordedTopic, ...]:
        """Its topics, by name."""
        return tuple(
            RecordedTopic(name=name, type_name=kind, count=self._counts[name], span_ns=self._span_ns)
            for name, kind in sorted(self._types.items())
        )

    @property
    def damaged(self) -> str | None:
        """Why messages are missing at the end."""
        return self._damaged

    def messages(self, topic: str) -> Iterator[RecordedMessage]:
        """The messages of a topic, file by file."""
        encoding = self._encodings.get(topic)
        if encoding != "cdr":
            raise RecordingError(
                f"{self._files[0]}: {topic} is of encoding {encoding!r}; expected cdr, as ROS 2 records it"
            )
        for file, stream, complete in zip(self._files, self._streams, self._complete, strict=True):
            indexed = complete and not self._goes_back(stream, topic)
            for log_ns, data in self._indexed(file, stream, topic) if indexed else self._linear(stream, topic):
                yield RecordedMessage(log_ns=log_ns, data=data)

    def _goes_back(self, stream: IO[bytes], topic: str) -> bool:
        """Whether the recorder's clock went back meanwhile, so that an order by its times would mix the messages.

        A chunk alone does not tell, and is as quickly read as it lies in the file.
        """
        stream.seek(0)
        summary = self._reader.SeekingReader(stream).get_summary()
        numbers = {number for number, channel in summary.channels.items() if channel.topic == topic}
        chunks = [each for each in summary.chunk_indexes if numbers & each.message_index_offsets.keys()]
        chunks.sort(key=lambda each: each.chunk_start_offset)
        return len(chunks) == 1 or any(
            after.message_start_time < before.message_end_time - _STEPPED_NS for before, after in pairwise(chunks)
        )

    def _indexed(self, file: Path, stream: IO[bytes], topic: str) -> Iterator[tuple[int, bytes]]:
        stream.seek(0)
        try:
            reader = self._reader.SeekingReader(stream, validate_crcs=True)
            for _, _, message in reader.iter_messages(topics=[topic]):
                yield message.log_time, message.data
        except self._broken as exc:
            self._damaged = _damage(file, exc)

    def _linear(self, stream: IO[bytes], topic: str) -> Iterator[tuple[int, bytes]]:
        channels: set[int] = set()
        for record in self._records(stream):
            match type(record).__name__:
                case "Channel" if record.topic == topic:
                    channels.add(record.id)
                case "Message" if record.channel_id in channels:
                    yield record.log_time, record.data

    def close(self) -> None:
        """Free the files."""
        for stream in self._streams:
            stream.close()


def _damage(file: Path | str, error: Exception) -> str:
    return f"{file}: a chunk is damaged ({error}); what comes before it was read"
