"""Read rosbag2's SQLite files with Python's own SQLite."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_vseg.errors import RecordingError
from edge_vseg.recording.bags import Bag, RecordedMessage, RecordedTopic

logger = logging.getLogger(__name__)

_BESIDE = ("-wal", "-journal")
"""Ends of the names of files in which SQLite keeps what a recorder that did not end in order left."""

_INDEX_BYTES = 1 << 20
"""For what SQLite makes beside a copy."""


class SqliteBag(Bag):
    """One or more ``.db3`` files of one recording.

    Messages that are still in a write-ahead log beside a file are read, too: in place, where SQLite makes its index
    (``-shm``) beside them, or from a copy where nothing can be written. If the copy does not fit into the
    folder for temporary files, they are left out, and :attr:`damaged` says so.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Read their topics.

        Raises:
            RecordingError: If one is no rosbag2 database.
        """
        self._files = tuple(files)
        self._connections: list[sqlite3.Connection] = []
        self._opened = contextlib.ExitStack()
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
        try:
            connection = self._connect(file.resolve())
            self._connections.append(connection)
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

    def _connect(self, file: Path) -> sqlite3.Connection:
        beside = [each for end in _BESIDE if _has_content(each := file.with_name(file.name + end))]
        if not beside:
            # Immutable: a recording on a read-only disk can be opened, and no journal appears beside it.
            return self._open(file, "immutable=1")
        try:
            connection = self._open(file, "mode=ro")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as exc:
            if "locked" in str(exc):
                raise RecordingError(f"{file} is being written ({exc}); stop the recorder first") from exc
            return self._open_copy(file, beside)
        return connection

    def _open_copy(self, file: Path, beside: Sequence[Path]) -> sqlite3.Connection:
        names = " and ".join(each.name for each in beside)
        with contextlib.ExitStack() as made:
            try:
                needed = sum(each.stat().st_size for each in (file, *beside)) + _INDEX_BYTES
                if shutil.disk_usage(tempfile.gettempdir()).free < needed:
                    raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB do not fit into {tempfile.gettempdir()}")
                logger.warning("%s: %s beside it cannot be read in place; a copy is read", file, names)
                folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="edge_vseg-")))
                for each in (file, *beside):
                    shutil.copyfile(each, folder / each.name)
            except OSError as exc:
                refusal = RecordingError(
                    f"{file}: {names} beside it has messages, and no copy could be made to read them"
                    f" ({exc.strerror or exc}); copy all of them to a disk that can be written, or set TMPDIR"
                )
                # Without its journal a file may be halfway between two states.
                if exc.errno != errno.ENOSPC or any(each.name.endswith("-journal") for each in beside):
                    raise refusal from exc
                return self._open_without(file, names, refusal)
            self._opened.push(made.pop_all())
        return self._open(folder / file.name, "mode=rw")

    def _open_without(self, file: Path, names: str, refusal: RecordingError) -> sqlite3.Connection:
        """What the file has without its log.

        Raises:
            RecordingError: ``refusal``, if it has nothing.
        """
        connection = self._open(file, "immutable=1")
        try:
            connection.execute("SELECT count(*) FROM messages").fetchone()
            connection.execute("SELECT count(*) FROM topics").fetchone()
        except sqlite3.Error:
            raise refusal from None
        self._damaged = (
            f"{file}: the messages in {names} are missing, as a copy of both does not fit into"
            f" {tempfile.gettempdir()}; set TMPDIR to a folder with more space"
        )
        logger.warning("%s", self._damaged)
        return connection

    def _open(self, file: Path, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{file.as_uri()}?{how}", uri=True, check_same_thread=False)
        self._opened.callback(connection.close)
        return connection

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
            try:
                # Already the first step may read all pages, to sort them.
                rows = connection.execute(
                    "SELECT timestamp, data FROM messages JOIN topics ON messages.topic_id = topics.id"
                    " WHERE topics.name = ? ORDER BY timestamp, messages.id",
                    (topic,),
                )
                for log_ns, data in rows:
                    yield RecordedMessage(log_ns=log_ns, data=data)
            except sqlite3.DatabaseError as exc:
                self._damaged = f"{file} is damaged ({exc}); what comes before it was read"

    def close(self) -> None:
        """Free the files."""
        self._opened.close()


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
