"""What has been opened on this machine without harm."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import stat
from pathlib import Path

import msgspec

from edge_vseg.bundle import Bundle
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.port import GraphSpec, SessionOptions

log = logging.getLogger(__name__)

MAX_KEPT = 4096
_KEY = re.compile(r"[0-9a-f]{64}")


class ProbeRecord:
    """An empty file for each graph that was opened and run, named by :func:`probe_key`.

    Files instead of a list: two processes may add at once, and there is nothing in them to be damaged. A folder that
    cannot be written is logged, and graphs are then tried out again next time.

    Args:
        folder: Where; ``None`` to remember nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __contains__(self, key: str) -> bool:
        """Whether this user has recorded it."""
        if self._folder is None:
            return False
        try:
            found = os.lstat(self._folder / key)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()

    def add(self, key: str) -> None:
        """Record it, and forget the oldest beyond :data:`MAX_KEPT`."""
        if self._folder is None or not _KEY.fullmatch(key):
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._folder / key, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            self._prune(self._folder)
        except OSError as exc:
            log.warning("%s cannot be written, so graphs are tried out again next time: %s", self._folder, exc)

    def _prune(self, folder: Path) -> None:
        kept = [path for path in folder.iterdir() if _KEY.fullmatch(path.name)]
        if len(kept) <= MAX_KEPT:
            return
        for path in sorted(kept, key=lambda path: path.stat().st_mtime_ns)[:-MAX_KEPT]:
            with contextlib.suppress(OSError):
                path.unlink()


def probe_key(bundle: Bundle, runtime: str, entry: str, spec: GraphSpec, options: SessionOptions) -> str:
    """A digest of all that decides whether a graph can be opened: its bytes, the runtime's version, the CPU.

    Args:
        bundle: Where the graph is.
        runtime: Name of the runtime.
        entry: Path of the graph in the bundle.
        spec: Its inputs and outputs.
        options: How it is opened; the number of threads does not count.

    Raises:
        BackendError: If the runtime is not installed.
        OptionError: If there is no such runtime.
    """
    # The weights of an OpenVINO graph stand beside it under the same name.
    files = [name for name in bundle.manifest.files if Path(name).with_suffix("") == Path(entry).with_suffix("")]
    facts = {
        "files": sorted(bundle.manifest.files[name].sha256 for name in files),
        "spec": msgspec.json.encode((spec.inputs, spec.outputs)).decode(),
        "runtime": f"{runtime} {get_runtime(runtime).version()}",
        "cpu": cpu_features().fingerprint(),
        "provider": options.provider,
        "provider_options": sorted(options.provider_options.items()),
    }
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()
