"""Copy the weights of finished runs into the package: ``python -m edge_vseg.export.reference.training.ship RUN...``.

For maintainers, in a checkout. Updates ``export/reference/assets`` and its index from the ``result.json`` of each run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge_vseg.export.reference.zoo.weights import ASSETS, INDEX, ShippedWeights, read_network, shipped

MAX_WEIGHTS_BYTES = 16_000_000
"""Limit for all shipped weights together."""


def ship(runs: Annotated[list[Path], typer.Argument(help="Output folders of finished runs, one per network.")]) -> None:
    """Copy weights into the package, and their hash, accuracy and commands into the index."""
    rows = shipped()
    for run in runs:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        network = read_network(run / "weights.safetensors").spec.name
        target = ASSETS / f"two_branch_{network}.safetensors"
        shutil.copyfile(run / "weights.safetensors", target)
        rows[network] = ShippedWeights(
            network=network,
            file=target.name,
            sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
            miou=result["miou"],
            iou=result["iou"],
            commands=tuple(result["commands"]),
        )
    size = sum((ASSETS / row.file).stat().st_size for row in rows.values())
    if size > MAX_WEIGHTS_BYTES:
        raise SystemExit(
            f"the shipped weights would take {size / 1e6:.1f} MB; the limit is {MAX_WEIGHTS_BYTES / 1e6:g} MB"
        )
    text = json.dumps([asdict(rows[name]) for name in sorted(rows)], indent=1)
    (ASSETS / INDEX).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(ship)
