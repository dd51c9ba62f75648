"""How much memory and time a child process may take."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.child_process.process_memory import available_memory
from edge_vseg.errors import OptionError

AVAILABLE_SHARE = 0.8
"""Share of the memory that is available when a call begins, which it may take by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """What one call may take before the process is stopped.

    Attributes:
        memory_bytes: Resident memory of the process; ``None`` for 80 % of what is available when the call begins.
        seconds: Duration.
    """

    memory_bytes: int | None = None
    seconds: float = 900.0

    def __post_init__(self) -> None:
        """Raise OptionError for a limit that is not positive."""
        if self.seconds <= 0 or (self.memory_bytes is not None and self.memory_bytes <= 0):
            raise OptionError(f"limits must be positive, got {self.memory_bytes} bytes, {self.seconds} s")

    def memory(self, resident: int) -> int | None:
        """Bytes that a process may take, which holds ``resident`` bytes now; ``None`` where that is not known."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        available = available_memory()
        return None if available is None else int(AVAILABLE_SHARE * (available + resident))
