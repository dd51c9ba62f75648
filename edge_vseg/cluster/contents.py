"""What a file or folder holds, by SHA-256: the same content has the same hash on every machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge_vseg.errors import OptionError
from edge_vseg.input_files import open_regular

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedFile:
    """A file.

    Attributes:
        name: Its path in the folder, with ``/``; its own name if it is the input itself.
        size: Bytes.
        sha256: Of its content, in hex.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Files of an input.

    Attributes:
        name: Name of the file or folder.
        is_folder: Whether it is a folder.
        files: All its files, sorted by name.
    """

    name: str
    is_folder: bool
    files: tuple[HashedFile, ...]

    @property
    def sha256(self) -> str:
        """Of the names and contents of all files; of a single file, of its content alone."""
        if not self.is_folder:
            return self.files[0].sha256
        lines = [f"{file.sha256} {file.name}\0" for file in self.files]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def check_names(self) -> None:
        """Check that no file lies outside the folder into which they are written.

        Raises:
            ValueError: If a name is absolute, empty, or goes up.
        """
        if not _is_plain(self.name) or "/" in self.name:
            raise ValueError(f"{self.name!r} is not the name of a file or folder")
        for file in self.files:
            if not _is_plain(file.name) or (not self.is_folder and file.name != self.name):
                raise ValueError(f"{file.name!r} is not a file in {self.name!r}")


def contents_of(path: Path, pass_on: Callable[[bytes], None] = lambda block: None) -> Contents:
    """Read a file, or all files of a folder.

    Args:
        path: It.
        pass_on: Called with all bytes, in the order of the files.

    Raises:
        OptionError: If it is not there or cannot be read, or a folder in it is a link.
    """
    try:
        if not path.is_dir():
            name = path.name or path.absolute().name
            return Contents(name=name, is_folder=False, files=(_read(path, name, pass_on),))
        names = sorted(_names(path))
        files = tuple(_read(path / name, name, pass_on) for name in names)
    except OSError as exc:
        shown = exc.filename or path
        raise OptionError(f"{shown} cannot be read: {exc.strerror or exc}; jobs need it, check the path") from exc
    return Contents(name=path.resolve().name, is_folder=True, files=files)


def holds(path: Path, contents: Contents) -> bool:
    """Whether a file or folder has exactly these files; whatever cannot be read has not."""
    try:
        if not contents.is_folder:
            found = {path.name: path}
            wanted = {path.name: contents.files[0]}
        else:
            found = {name: path / name for name in _names(path)}
            wanted = {file.name: file for file in contents.files}
        if found.keys() != wanted.keys() or any(found[n].stat().st_size != wanted[n].size for n in found):
            return False
        return all(_read(found[name], name, lambda block: None).sha256 == wanted[name].sha256 for name in found)
    except (OSError, OptionError):
        return False


def signature_of(path: Path) -> tuple[tuple[str, int, int, int], ...] | None:
    """Names, sizes, times and inodes of all files: while they stay, so does what was read. ``None`` without it."""
    try:
        paths = {name: path / name for name in sorted(_names(path))} if path.is_dir() else {path.name: path}
        found = {name: each.stat() for name, each in paths.items()}
    except (OSError, OptionError):
        return None
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found.items())


def _names(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=_raise):
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise OptionError(
                    f"{Path(place) / name} is a link to a folder, and what it holds would not travel; give the folder"
                    " itself as an input, or copy it there"
                )
        for name in files:
            yield (Path(place) / name).relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _read(path: Path, name: str, pass_on: Callable[[bytes], None]) -> HashedFile:
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            pass_on(block)
    return HashedFile(name=name, size=size, sha256=digest.hexdigest())


def _is_plain(name: str) -> bool:
    """Whether a relative path stays where it begins, on every system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name
