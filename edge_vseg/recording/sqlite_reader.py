"""Read rosbag2's SQLite files with Python's own SQLite."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_vseg.errors import RecordingError
from edge_vseg.recording.bags import Bag, RecordedMessage, RecordedTopic


class SqliteBag(Bag):
    """One or more ``.db3`` files of one recording."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read their topics.

        Raises:
            RecordingError: If one is no rosbag2 database.
        """
        self._files = tuple(files)
        self._connections: list[sqlite3.Connection] = []
        self._damaged: str | None = None
        self._types: dict[str, tuple[str, str]] = {}
        self._counts: Counter[str] = Counter()
        self._span_ns = 0
        try:
            for file in files:
                self._read_topics(file)
        except BaseException:
            self.close()
            raise

    def _read_topics(self, file: Path) -> None:
        if not file.is_file():
            raise RecordingError(f"{file}: there is no such file; check the path")
        # Immutable: a recording on a read-only disk can be opened, and no journal appears beside it.
        connection = sqlite3.connect(f"{file.resolve().as_uri()}?immutable=1", uri=True, check_same_thread=False)
        self._connections.append(connection)
        try:
            rows = connection.execute(
                "SELECT topics.name, topics.type, topics.serialization_format, count(messages.id) FROM topics"
                " LEFT JOIN messages ON messages.topic_id = topics.id GROUP BY topics.id"
            ).fetchall()
            first_ns, last_ns = connection.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        except sqlite3.Error as exc:
            raise RecordingError(f"{file} is no rosbag2 database ({exc}); give another file") from exc
        for name, kind, encoding, count in rows:
            self._types[name] = (kind, encoding)
            self._counts[name] += count
        self._span_ns += (last_ns or 0) - (first_ns or 0)

    @property
    def topics(self) -> tuple[RecordedTopic, ...]:
        """Its topics, by name."""
        return tuple(
            RecordedTopic(name=name, type_name=kind, count=self._counts[name], span_ns=self._span_ns)
            for name, (kind, _) in sorted(self._types.items())
        )

    @property
    def damaged(self) -> str | None:
        """Why messages are missing at the end."""
        return self._damaged

    def messages(self, topic: str) -> Iterator[RecordedMessage]:
        """The messages of a topic, file by file."""
        _, encoding = self._types.get(topic, ("", "unknown"))
        if encoding != "cdr":
            raise RecordingError(f"{self._files[0]}: {topic} is of encoding {encoding!r}; expected cdr")
        for file, connection in zip(self._files, self._connections, strict=True):
            rows = connection.execute(
                "SELECT timestamp, data FROM messages JOIN topics ON messages.topic_id = topics.id"
                " WHERE topics.name = ? ORDER BY timestamp, messages.id",
                (topic,),
            )
            try:
                for log_ns, data in rows:
                    yield RecordedMessage(log_ns=log_ns, data=data)
            except sqlite3.DatabaseError as exc:
                self._damaged = f"{file} is damaged ({exc}); what comes before it was read"

    def close(self) -> None:
        """Free the files."""
        for connection in self._connections:
            connection.close()
