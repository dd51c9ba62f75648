"""How long training lasts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_vseg.errors import OptionError

_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLength:
    """When training ends: after a time, or after a number of steps, which gives the same result every time."""

    seconds: float | None = None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> TrainingLength:
        """Read ``10min``, ``90s``, ``1h`` or ``500steps``.

        Raises:
            OptionError: If it is none of these.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|sec|min|h|steps?)", text.strip())
        if match and float(match[1]) > 0:
            if match[2].startswith("step") and "." not in match[1]:
                return cls(steps=int(match[1]))
            if match[2] in _UNITS:
                return cls(seconds=float(match[1]) * _UNITS[match[2]])
        raise OptionError(f"a length of fine-tuning looks like 10min, 90s or 500steps, got {text!r}")

    def share(self, step: int, seconds: float) -> float:
        """How much of it is done, 0 to 1."""
        done = step / self.steps if self.steps is not None else seconds / (self.seconds or 1.0)
        return min(1.0, done)
