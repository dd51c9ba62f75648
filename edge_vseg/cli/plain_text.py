"""Text as it may reach a terminal or a log: without control characters and addresses' credentials."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from edge_vseg.video.address import mask_addresses, without_credentials

# C0 and C1 but for tab and line feed, marks that turn the direction of what follows, line separators, and halves of
# surrogate pairs, which no terminal's encoding has.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with ``?`` for every character that a terminal would obey instead of showing it."""
    return _CONTROL.sub("?", text)


def shown_command(arguments: Sequence[str]) -> str:
    """The command line for reports, without the credentials in its addresses."""
    return shlex.join(["edge-vseg", *map(without_credentials, arguments)])


class PlainConsole(Console):
    """A console whose own colours and cursor movements are the only ones: names out of bundles have none."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See :meth:`rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class PlainFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without control characters and credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        return mask_addresses(visible(super().format(record)))
