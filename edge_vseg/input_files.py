"""Read what others wrote: regular files up to a size, JSON without traps, numbers of any length."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

MAX_JSON_BYTES = 64 << 20
MAX_DEPTH = 64
_MAX_INT = 2**64 - 1
_SHOWN = 40


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but nothing that never ends, waits, or acts when it is opened.

    Raises:
        OSError: If it cannot be opened, or is a folder, a pipe, a socket or a device; ``strerror`` says which.
    """
    _require_regular(path, path.stat())
    # A pipe may have taken the file's place since: without a writer, opening it would wait.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def read_regular(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Read a whole regular file.

    Raises:
        OSError: As :func:`open_regular`, or if it is larger than ``max_bytes``.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", str(path))
    return data


def others_may_write(path: Path) -> bool:
    """Whether accounts other than this one and root may change a file or the entries of a folder.

    Raises:
        OSError: If it is not there.
    """
    found = path.stat()
    if found.st_uid not in (0, os.getuid()):
        return True
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def strict_json(data: bytes) -> Any:
    """Read JSON that others wrote.

    Raises:
        ValueError: If it is not JSON in UTF-8, repeats a key, or holds NaN, infinity, a whole number beyond 64 bits,
            half of a surrogate pair, or more than :data:`MAX_DEPTH` levels.
    """
    try:
        tree = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep") from None
    _check_tree(tree)
    return tree


def whole_number(text: str, *, most: int = _MAX_INT) -> int | None:
    """The number that ASCII digits write, from 0 to ``most``; ``None`` for any other text.

    ``int`` alone raises ``ValueError`` for more than 4,300 digits, and ``str.isdigit`` lets ``²`` pass.
    """
    if not text.isascii() or not text.isdigit() or len(text) > _SHOWN:
        return None
    value = int(text)
    return value if value <= most else None


def _require_regular(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, but a pipe, socket or device", str(path))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key[:_SHOWN]!r} appears twice")
        tree[key] = value
    return tree


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    # 1e999 is good JSON, and infinity once read.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:_SHOWN]} is too large")
    return value


def _whole(text: str) -> int:
    value = int(text) if len(text) <= _SHOWN else _MAX_INT + 1
    if abs(value) > _MAX_INT:
        raise ValueError(f"{text[:_SHOWN]} is too large")
    return value


def _check_tree(tree: Any) -> None:
    """Check depth and texts, level by level: a function that calls itself would fail where the tree is deep."""
    level = [tree]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            match value:
                case str():
                    _require_encodable(value)
                case dict():
                    below += [*value, *value.values()]
                case list():
                    below += value
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _require_encodable(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise ValueError(f"{text[:_SHOWN]!r} holds half of a surrogate pair") from exc
