"""The JSON record of an evaluation: its figures and its conditions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_vseg.analysis.evaluation.policy_score import PolicyScore
from edge_vseg.analysis.provenance import versions
from edge_vseg.bundle import open_bundle
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.scheduling.device_profile import read_device_profile

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions of an evaluation.

    Attributes:
        data: The video or dataset.
        threads: Worker threads that were requested; 0 is the runtime's choice.
        settings: The policy with its parameters.
        rate: Frames per second that arrived; ``None`` for as fast as possible.
        replay: Device profile whose costs were replayed; ``None`` if latency was measured here.
        network_scale: How many times as long the network took as in that profile.
        against: The baseline's bundle, if it is another one.
        command: The command line.
    """

    data: str
    threads: int = 0
    settings: str = ""
    rate: float | None = None
    replay: Path | None = None
    network_scale: float = 1.0
    against: Path | None = None
    command: str = ""


def evaluation_record(bundle: Path, score: PolicyScore, conditions: Conditions) -> dict[str, Any]:
    """Plain values, ready for JSON. With replayed costs, the machine is the one that the costs were recorded on.

    Args:
        bundle: The bundle.
        score: The figures.
        conditions: How they were measured.
    """
    opened = open_bundle(bundle)
    cpu = (
        cpu_features().model
        if conditions.replay is None
        else f"{read_device_profile(conditions.replay).machine} (replayed)"
    )
    machine = {"cpu": cpu, "versions": versions(opened.manifest.variant(score.variant).runtime)}
    paths = {name: None if (path := getattr(conditions, name)) is None else str(path) for name in ("replay", "against")}
    about = {"kind": "evaluation", "schema": SCHEMA, "bundle": str(bundle), "bundle_sha256": opened.sha256}
    return about | dataclasses.asdict(conditions) | paths | {"machine": machine} | dataclasses.asdict(score)
