"""The folder of a training run: made, writable, and in one run's hands."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edge_vseg.files import cannot_write, hold_folder


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Hold the folder of a run; one that was made for it and stays empty is removed again.

    Raises:
        OutputError: If it cannot be made or written.
        OptionError: If another process trains in it: two would write each other's checkpoint.
    """
    is_new = not os.path.lexists(folder)
    busy = f"another training is running in {folder}; wait for it, or give another folder with --output"
    with hold_folder(folder, busy):
        try:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise cannot_write(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
            yield
        finally:
            if is_new:
                with contextlib.suppress(OSError):
                    folder.rmdir()
