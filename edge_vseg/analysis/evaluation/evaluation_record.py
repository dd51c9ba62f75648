"""An evaluation as it is written to a file: the figures, and what they were measured on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vseg.analysis.evaluation.policy_evaluation import PolicyScore
from edge_vseg.analysis.provenance import versions
from edge_vseg.bundle import open_bundle
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.scheduling.device_profile import read_device_profile

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How an evaluation was made.

    Attributes:
        data: The video or dataset.
        threads: Worker threads that were asked for; 0 is the runtime's choice.
        settings: The policy with its parameters.
        rate: Frames a second that came; ``None`` for as fast as they were done.
        replay: Device profile whose costs were replayed; ``None`` if milliseconds were measured here.
        against: The bundle that was the baseline, if another one.
        command: The command line.
    """

    data: str
    threads: int = 0
    settings: str = ""
    rate: float | None = None
    replay: Path | None = None
    against: Path | None = None
    command: str = ""


def record(bundle: Path, score: PolicyScore, made: Conditions) -> dict[str, Any]:
    """Plain values, ready for JSON; of replayed milliseconds, the machine is the one that they were recorded on.

    Args:
        bundle: The bundle.
        score: The figures.
        made: How they were made.
    """
    opened = open_bundle(bundle)
    cpu = cpu_features().model if made.replay is None else f"{read_device_profile(made.replay).machine} (replayed)"
    machine = {"cpu": cpu, "versions": versions(opened.manifest.variant(score.variant).runtime)}
    paths = {name: None if (path := getattr(made, name)) is None else str(path) for name in ("replay", "against")}
    about = {"kind": "evaluation", "schema": SCHEMA, "bundle": str(bundle), "bundle_sha256": opened.sha256}
    return about | dataclasses.asdict(made) | paths | {"machine": machine} | dataclasses.asdict(score)
