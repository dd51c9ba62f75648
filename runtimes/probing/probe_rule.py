"""When graphs are tried out in a process of their own, and for how long."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from edge_vseg.errors import OptionError

PROBE_VARIABLE = "EDGE_VSEG_PROBE"
SECONDS = 60.0
When = Literal["first", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRule:
    """When a graph is opened and run in a child process before this process opens it.

    Attributes:
        when: ``first`` at the first opening of a graph with this version of the runtime on this CPU, ``always``, or
            ``never``.
        seconds: What opening a graph and running it once may take.
    """

    when: When = "first"
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Raise OptionError for an unknown word, or a time that is not positive."""
        if self.when not in get_args(When):
            raise OptionError(f"a probe is made {', '.join(get_args(When))}; got {self.when!r}")
        if not 0 < self.seconds < float("inf"):
            raise OptionError(f"a probe takes a positive number of seconds, got {self.seconds}")

    @classmethod
    def of_environment(cls) -> ProbeRule:
        """Read ``EDGE_VSEG_PROBE``: ``first``, ``always`` or ``never``, and after a colon the seconds; ``first:300``.

        Raises:
            OptionError: If it looks otherwise.
        """
        text = os.environ.get(PROBE_VARIABLE, "")
        when, _, seconds = text.partition(":")
        if not text:
            return cls()
        try:
            return cls(when=when, seconds=float(seconds) if seconds else SECONDS)  # type: ignore[arg-type]  # checked
        except (OptionError, ValueError):
            raise OptionError(f"{PROBE_VARIABLE} looks like first, always, never or first:300, got {text!r}") from None
