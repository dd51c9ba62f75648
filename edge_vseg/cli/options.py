"""Reading options that more than one command has."""

from __future__ import annotations

import re

from edge_vseg.errors import OptionError
from edge_vseg.types import Size


def parse_size(option: str, text: str) -> Size:
    """Read ``HxW``.

    Raises:
        OptionError: If it is not two positive numbers.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise OptionError(f"{option} {text!r}: expected HEIGHTxWIDTH, such as 360x480")
    return int(match[1]), int(match[2])
