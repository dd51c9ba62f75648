"""Write files atomically: a reader sees the old content or the new one, never half."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a temporary file beside the target, then rename it; pipes and devices are written directly.

    Raises:
        OSError: If it cannot be written; the old file is then unchanged.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    staged: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            staged = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        staged.chmod(0o644)
        staged.replace(path)
    except OSError:
        if staged is not None:
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
        raise
