"""The folder in which steps leave their results, so that an export that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_vseg.bundle.reading import file_sha256
from edge_vseg.errors import BundleFileError, OptionError
from edge_vseg.export.pipeline.tool_versions import tool_versions
from edge_vseg.files import write_whole
from edge_vseg.types import Image

log = logging.getLogger(__name__)
_MARK = "edge-vseg-work"
RULES = 4
"""Raised whenever a step makes something else of the same inputs, so that what it left before is not taken."""


class WorkFolder:
    """Results of steps, each a record in JSON and the files that belong to it.

    A record holds the fingerprint of the step's inputs and the hashes of its files; it is found again only if both
    are still the same.

    Args:
        root: The folder; made if it is not there.

    Raises:
        OptionError: If it holds something else.
    """

    def __init__(self, root: Path) -> None:
        mark = root / _MARK
        if root.exists() and (not root.is_dir() or (any(root.iterdir()) and not mark.exists())):
            raise OptionError(f"work folder {root} holds other things; give an empty one, or one that --work made")
        root.mkdir(parents=True, exist_ok=True)
        mark.touch()
        self.root = root

    @property
    def variants(self) -> Path:
        """Holds a folder for each variant, named by its id."""
        return self.root / "variants"

    def load(self, step: str, fingerprint: str) -> Any | None:
        """What :meth:`save` was given under that fingerprint; ``None`` if there is nothing, or files have changed."""
        try:
            tree = json.loads(self._record(step).read_bytes())
            if tree["fingerprint"] != fingerprint or any(
                file_sha256(self.root / name) != digest for name, digest in tree["files"].items()
            ):
                return None
        except (OSError, ValueError, KeyError, TypeError, BundleFileError):
            return None  # no record, a damaged one, or a file that is gone
        log.info("%s is taken from %s", step, self.root)
        return tree["record"]

    def save(self, step: str, fingerprint: str, record: Any, files: Iterable[Path] = ()) -> None:
        """Record what a step made.

        Args:
            step: Names the record.
            fingerprint: Of everything that went in.
            record: What JSON can hold.
            files: Files in the folder that belong to it.
        """
        hashes = {path.relative_to(self.root).as_posix(): file_sha256(path) for path in sorted(files)}
        path = self._record(step)
        path.parent.mkdir(exist_ok=True)
        tree = {"fingerprint": fingerprint, "files": hashes, "record": record}
        write_whole(path, json.dumps(tree, indent=1).encode())

    def _record(self, step: str) -> Path:
        return self.root / "steps" / f"{step.replace('/', '.')}.json"


def step_fingerprint(*parts: object) -> str:
    """A hash of values whose ``repr`` says all about them, of the versions of all tools, and of :data:`RULES`."""
    return hashlib.sha256(repr((sorted(tool_versions().items()), RULES, parts)).encode()).hexdigest()


def frames_sha256(frames: Sequence[Image]) -> str:
    """A hash of the pixels of images, the same that :func:`edge_vseg.calibration.sample_frames` records."""
    digest = hashlib.sha256()
    for image in frames:
        digest.update(repr(image.shape).encode())
        digest.update(image.tobytes())
    return digest.hexdigest()


def folder_sha256(paths: Iterable[Path]) -> str:
    """A hash of the names and contents of files."""
    return hashlib.sha256(repr([(path.name, file_sha256(path)) for path in sorted(paths)]).encode()).hexdigest()
