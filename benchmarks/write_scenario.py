"""One command that ``write_faults.py`` attacks: what was there before, what it does, and what it writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OLD = b"of an earlier run"
INPUTS = "inputs"
Check = Callable[[Path], object]
"""Raises if a result is not whole."""


def _nothing(folder: Path) -> None:
    """Nothing is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command, or the part of one that writes.

    Attributes:
        name: Of the command.
        act: What it does in a folder.
        outputs: What it writes in the folder, and what a whole one is; a slash at the end is a folder of files.
        inputs: Makes what it reads, in the folder ``inputs``.
        older: Makes an older result; by default a file with :data:`OLD` at each output that is a file.
        fresh: Whether there is no older result.
        quick: Whether a case takes milliseconds.
        exchange: Whether the file system can exchange two names.
        may_do_without: Whether a result that cannot be written is a warning.
        keeps: Whether it leaves what it has written, and says so.
        prints: Whether the result is standard output.
        recover: What the next run begins with, where a kill may leave the old result under another name.
        imports: What each case would import again.
        also_named: What an error may name instead of an output.
    """

    name: str
    act: Callable[[Path], object]
    outputs: Mapping[str, Check]
    inputs: Callable[[Path], object] = _nothing
    older: Callable[[Path], object] | None = None
    fresh: bool = False
    quick: bool = True
    exchange: bool = True
    may_do_without: bool = False
    keeps: bool = False
    prints: bool = False
    recover: Callable[[Path], object] = _nothing
    imports: tuple[str, ...] = ()
    also_named: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """What an error may name."""
        return (*(name.rstrip("/").rpartition("/")[2] for name in self.outputs), *self.also_named)

    def prepare(self, folder: Path) -> None:
        """Make what is there before."""
        (folder / INPUTS).mkdir()
        self.inputs(folder / INPUTS)
        if self.fresh:
            return
        if self.older is not None:
            self.older(folder)
            return
        for name in self.outputs:
            if not name.endswith("/"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(OLD)

    def make_way(self, folder: Path) -> None:
        """Remove folders that must be new."""
        for name in self.outputs:
            if name.endswith("/"):
                shutil.rmtree(folder / name, ignore_errors=True)

    def stdout(self, folder: Path) -> Path | None:
        """Where it prints."""
        return folder / next(iter(self.outputs)) if self.prints else None

    def expected(self, folder: Path) -> set[str]:
        """Names that may be in the folder."""
        return {INPUTS, *(name.partition("/")[0] for name in self.outputs)}

    def state(self, folder: Path) -> dict[str, str]:
        """Of each output ``old``, ``new``, or what is wrong with it."""
        return {name: self._state(folder, name, check) for name, check in self.outputs.items()}

    def _state(self, folder: Path, name: str, check: Check) -> str:
        path = folder / name
        if not path.exists():
            return "old" if self.fresh or self.prints or name.endswith("/") else "gone"
        try:
            if path.is_file() and path.read_bytes() == OLD:
                return "old"
            found = check(path)
        except Exception as exc:
            return "old" if self.prints else f"{type(exc).__name__}: {exc}"
        return "old" if found == "old" else "new"
