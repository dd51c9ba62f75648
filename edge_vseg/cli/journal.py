"""Log lines as systemd's journal wants them: with their priority, and without a time of their own.

Formats: ``JOURNAL_STREAM`` in systemd.exec(5), and the prefixes of sd-daemon(3).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping

from edge_vseg.cli.plain_text import PlainFormatter

_STDERR = 2
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def stderr_is_journal(environment: Mapping[str, str] = os.environ, descriptor: int = _STDERR) -> bool:
    """Whether standard error is the journal's: another program may have put a file in its place."""
    match = re.fullmatch(r"(\d+):(\d+)", environment.get("JOURNAL_STREAM", ""))
    if match is None:
        return False
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (int(match[1]), int(match[2]))


def priority_prefix(level: int) -> str:
    """``<N>`` for a level of :mod:`logging`; N is the priority of syslog."""
    priority = next((number for limit, number in _PRIORITIES if level >= limit), _DEBUG)
    return f"<{priority}>"


class JournalFormatter(PlainFormatter):
    """Puts the priority before each line, because the journal takes each line for an entry."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record, traceback included."""
        prefix = priority_prefix(record.levelno)
        return "\n".join(f"{prefix}{line}" for line in super().format(record).splitlines() or [""])
