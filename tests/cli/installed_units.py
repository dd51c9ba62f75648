"""What lies in the folder of units."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
TOKEN = "0123456789abcdef-$x"


def settings(folder: Path, name: str = "edge-vseg") -> set[str]:
    return set((folder / f"{name}.service").read_text().splitlines())
