"""An evaluation as it is written to a file: the figures, and what they were measured on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edge_vseg.bundle import open_bundle
from edge_vseg.evaluation.policies import PolicyScore
from edge_vseg.provenance import versions
from edge_vseg.runtimes.cpu import cpu_features

SCHEMA = 1


def record(
    bundle: Path, data: str, score: PolicyScore, *, threads: int = 0, settings: str = "", command: str = ""
) -> dict[str, Any]:
    """Plain values, ready for JSON.

    Args:
        bundle: The bundle.
        data: The video or dataset.
        score: The figures.
        threads: Worker threads that were asked for.
        settings: The policy with its parameters.
        command: The command line.
    """
    opened = open_bundle(bundle)
    machine = {
        "cpu": cpu_features().model,
        "versions": versions(opened.manifest.variant(score.variant).runtime),
    }
    about = {
        "kind": "evaluation",
        "schema": SCHEMA,
        "bundle": str(bundle),
        "bundle_sha256": opened.sha256,
        "data": data,
        "threads": threads,
        "settings": settings,
        "machine": machine,
        "command": command,
    }
    return about | dataclasses.asdict(score)
