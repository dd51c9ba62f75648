"""Write a folder of labels so that it is there whole or not at all.

It is staged beside the target in ``.NAME.XXXXXXXX.partial``, which is locked while its process lives, and what a killed
one left is removed by the next.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_vseg.bundle.writing import exchange
from edge_vseg.errors import OptionError, OutputError
from edge_vseg.files import DISK_ERRORS, cannot_write, lock, make_folder, remove_leftovers, settle

CONTENT = frozenset({"images", "labels", "confidence", "classes.json"})
"""What such a folder has; one that has more, or no confidence, is somebody's work and never replaced."""


def check_replaceable(folder: Path, *, force: bool, sources: Sequence[Path] = ()) -> None:
    """Check that a folder may be written; call it before long work.

    Args:
        folder: Where the labels go.
        force: Whether an older folder of labels is replaced.
        sources: Files and folders that are read, and so not replaced.

    Raises:
        OptionError: If it is a file, has something in it, or what is read lies in it.
    """
    real = Path(os.path.realpath(folder))
    if any(Path(os.path.realpath(source)).is_relative_to(real) for source in sources):
        raise OptionError(f"{folder} has what is read in it; give another folder with -o")
    if not real.exists() or (real.is_dir() and not any(real.iterdir())):
        return
    if not real.is_dir():
        raise OptionError(f"{folder} is a file; give the name of a new folder with -o")
    if not force:
        raise OptionError(f"{folder} exists and is not replaced; give another folder with -o, or --force to replace it")
    found = {path.name for path in real.iterdir()}
    if not {"confidence", "classes.json"} <= found <= CONTENT:
        raise OptionError(
            f"{folder} is not a folder that this command wrote, and is not replaced: it has"
            f" {', '.join(sorted(found)[:5])}; give another one with -o"
        )


@contextmanager
def stage_folder(folder: Path, *, force: bool, sources: Sequence[Path] = ()) -> Iterator[Path]:
    """Give a folder to write in, which takes the place of ``folder`` at the end, unless something is raised.

    Raises:
        OptionError: As :func:`check_replaceable`, or if another process is writing the same folder.
        OutputError: If it cannot be written; what was there before is then unchanged.
    """
    check_replaceable(folder, force=force, sources=sources)
    target = Path(os.path.realpath(folder))
    make_folder(target.parent)
    if living := remove_leftovers(target):
        raise OptionError(f"{folder} is being written by another process, in {living[0].name}; wait until it is done")
    staged = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        staged.mkdir()
        descriptor = os.open(staged, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise cannot_write(folder, exc) from exc
    try:
        lock(descriptor)
        yield staged
        check_replaceable(folder, force=force, sources=sources)  # once more: it took a while
        try:
            _put(staged, target)
        except OSError as exc:  # fsync does not say of which file
            raise cannot_write(folder, exc) from exc
        settle(target)
    except OSError as exc:
        ours = isinstance(exc, OutputError) or str(exc.filename2 or exc.filename).startswith(str(staged))
        if exc.errno not in DISK_ERRORS or not ours:
            raise
        raise cannot_write(folder, exc) from exc  # by the name that the user knows
    finally:
        # Afterwards, this is what was replaced, or does not exist.
        shutil.rmtree(staged, ignore_errors=True)
        os.close(descriptor)


def _put(staged: Path, target: Path) -> None:
    for path in (*staged.rglob("*"), staged):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if target.is_dir():
        exchange(staged, target)
    else:
        staged.rename(target)
