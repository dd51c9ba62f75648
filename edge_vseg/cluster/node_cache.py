"""Inputs on a node of a cluster: written once into a folder of the user's cache, and known by their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import platformdirs

from edge_vseg.cluster.contents import Contents, HashedFile, holds
from edge_vseg.errors import ClusterError
from edge_vseg.files import cannot_write, make_folder
from edge_vseg.input_files import others_may_write

CACHE_VARIABLE = "EDGE_VSEG_CLUSTER_CACHE"
_LEFT_S = 86400.0
"""Age of a half-written folder whose process is certainly gone."""
_TRIES = 10


def node_cache_folder() -> Path:
    """``EDGE_VSEG_CLUSTER_CACHE``, or ``edge_vseg/cluster`` in the user's cache folder.

    Raises:
        ClusterError: If there is neither.
    """
    given = os.environ.get(CACHE_VARIABLE)
    try:
        folder = Path(given) if given else platformdirs.user_cache_path("edge_vseg", appauthor=False) / "cluster"
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        raise ClusterError(f"this user has no cache folder on the node; set {CACHE_VARIABLE} to a folder there")
    return folder


def place_input(contents: Contents, blocks: Iterable[bytes], cache: Path) -> Path:
    """The path of an input in the cache, written there if it is not there whole.

    Several workers may do that at once: each writes a folder of its own, the first moves it into place, and the others
    take that one. What is there is hashed before it is used.

    Args:
        contents: What it holds.
        blocks: Its bytes, in the order of its files; read only if it has to be written.
        cache: The folder.

    Raises:
        ValueError: If a name leads out of the folder.
        ClusterError: If what arrives is not what was sent, or others may write to the cache.
        OutputError: If it cannot be written.
    """
    contents.check_names()
    make_folder(cache, mode=0o700)
    if others_may_write(cache):
        raise ClusterError(
            f"other accounts may write to {cache} on this node; run chmod 700 on it, or set {CACHE_VARIABLE}"
        )
    target = cache / hashlib.sha256(f"{contents.sha256} {contents.name}".encode("utf-8", "surrogateescape")).hexdigest()
    placed = target / contents.name
    if holds(placed, contents):
        return placed
    _remove_leftovers(cache)
    try:
        staged = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=cache))
        try:
            _write(staged / contents.name, contents, blocks)
            if not holds(staged / contents.name, contents):
                raise ClusterError(
                    f"{contents.name} did not arrive on this node as it was sent; it changed meanwhile, or the disk of"
                    f" {cache} fails: run it again"
                )
            _move(staged, target, contents)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as exc:
        raise cannot_write(cache, exc, needed=sum(file.size for file in contents.files)) from exc
    return placed


def _move(staged: Path, target: Path, contents: Contents) -> None:
    """Move what was written into place; another worker may have been first, and what was there may be damaged."""
    for _ in range(_TRIES):
        with contextlib.suppress(OSError):  # there is something
            staged.rename(target)
            return
        if holds(target / contents.name, contents):
            return
        with (
            contextlib.suppress(OSError),
            tempfile.TemporaryDirectory(
                prefix=".", suffix=".partial", dir=target.parent, ignore_cleanup_errors=True
            ) as away,
        ):
            target.rename(Path(away) / "damaged")
    raise ClusterError(f"{target} cannot be replaced; remove it on this node")


def _write(root: Path, contents: Contents, blocks: Iterable[bytes]) -> None:
    stream = _Stream(iter(blocks))
    for file in contents.files:
        path = root / file.name if contents.is_folder else root
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as output:
            for part in stream.take(file):
                output.write(part)
    if contents.is_folder:
        root.mkdir(exist_ok=True)


class _Stream:
    """Blocks of any size, taken by number of bytes."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def take(self, file: HashedFile) -> Iterator[memoryview]:
        left = file.size
        while left:
            if not self._rest:
                self._rest = memoryview(next(self._blocks, b""))
                if not self._rest:
                    return  # the hash will tell
            part, self._rest = self._rest[:left], self._rest[left:]
            left -= len(part)
            yield part


def _remove_leftovers(cache: Path) -> None:
    """Remove what killed workers left half written."""
    with contextlib.suppress(OSError):
        for path in cache.glob(".*.partial"):
            if time.time() - path.stat().st_mtime > _LEFT_S:
                shutil.rmtree(path, ignore_errors=True)
