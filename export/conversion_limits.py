"""What a conversion may take, and what is raised when a converter fails."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_vseg.child_process import ChildFailures, ProcessLimits
from edge_vseg.errors import ExportError, OptionError, QuantizationError

FAILURES = ChildFailures(
    died=QuantizationError,
    late=QuantizationError,
    other=ExportError,
    more_memory="give more with --memory-limit 8GB (ExportOptions.limits)",
    more_time="give more with --time-limit 1h (ExportOptions.limits)",
)
SECONDS = 900.0
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionLimits(ProcessLimits):
    """What one conversion may take before it is stopped.

    Attributes:
        memory_bytes: Resident memory of the process that converts; ``None`` for 80 % of what is available when the
            conversion begins.
        seconds: Duration.
    """

    @classmethod
    def parse(cls, memory: str | None = None, time: str | None = None) -> ConversionLimits:
        """Read limits such as ``4GB`` and ``30min``; ``None`` for the default.

        Raises:
            OptionError: If they look otherwise.
        """
        return cls(
            memory_bytes=None if memory is None else int(_measure("memory", memory, _BYTES, "4GB or 900MB")),
            seconds=SECONDS if time is None else _measure("time", time, _SECONDS, "30min or 90s"),
        )


def _measure(what: str, text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in units or float(match[1]) == 0:
        raise OptionError(f"a limit of {what} looks like {example}, got {text!r}")
    return float(match[1]) * units[match[2]]
