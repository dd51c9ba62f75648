"""Results of trials by content: what was run once with the same files is not run again, in this study or another."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import edge_vseg
from edge_vseg.files import make_folder, write_whole
from edge_vseg.tuning.trial import TrialJob
from edge_vseg.tuning.wish import Figures

log = logging.getLogger(__name__)


class TrialCache:
    """Figures of trials in a folder, one file each.

    Args:
        folder: The folder; made when something is written.
        contents: A hash of each file and folder that trials read.
        versions: Runtime of each variant and its version.
        machine: Where trials are measured; empty if costs are replayed, which gives the same everywhere.
    """

    def __init__(self, folder: Path, contents: Mapping[Path, str], versions: Mapping[str, str], machine: str) -> None:
        self._folder = folder
        self._versions = versions
        self._contents = contents
        self._machine = machine

    def get(self, job: TrialJob) -> Figures | None:
        """What a trial gave before; ``None`` if it was never run, or its file is damaged."""
        for name in (self._name(job, stopped=False), self._name(job, stopped=True)):
            try:
                return Figures(**json.loads((self._folder / name).read_bytes()))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError) as exc:
                log.warning("%s is damaged and will be made again: %s", self._folder / name, exc)
        return None

    def put(self, job: TrialJob, figures: Figures) -> None:
        """Keep what a trial gave.

        Raises:
            OutputError: If it cannot be written.
        """
        make_folder(self._folder)
        path = self._folder / self._name(job, stopped=figures.stopped)
        write_whole(path, json.dumps(asdict(figures), allow_nan=False).encode())

    def _name(self, job: TrialJob, *, stopped: bool) -> str:
        """A file's name. A trial that was given up depends on the deadline that it broke; others are judged by it."""
        parts = {
            "version": edge_vseg.__version__,
            "setting": job.setting.tree() | {"network": "", "companion": ""},
            "inputs": [self._contents[path] for path in job.inputs],
            "runtime": self._versions[job.setting.variant],  # a companion has the same
            "count": job.count,
            "least_share": job.least_share,
            "rate": job.wish.rate,
            "lag": job.wish.deadline_ms,
            "scale": job.network_scale,
            "machine": self._machine,
            "stopped": stopped,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32] + ".json"
