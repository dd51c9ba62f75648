"""Copy the weights of finished runs into the package: ``python -m edge_vseg.export.reference.training.ship RUN...``.

For maintainers, in a checkout. Updates ``export/reference/assets`` and its index from the ``result.json`` of each run.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from edge_vseg.analysis.datasets import open_dataset
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.sized_frames import SizedFrames
from edge_vseg.export.reference.training.validation import evaluate_network, per_class
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.export.reference.zoo.weights import ASSETS, INDEX, ShippedWeights, read_network, shipped, write_weights

SHIPPED = "shipped"
"""What ``--start`` calls the weights in the package."""
MAX_WEIGHTS_BYTES = 24_000_000
"""Limit for all shipped weights together."""
MAX_FLOAT16_BYTES = 12_000_000
"""A larger file is written in 8 bits."""


def ship(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of finished runs, one per network.")],
    data: Annotated[
        str, typer.Option(metavar="LAYOUT:DIR", help="Judges networks that are written in 8 bits, by its split val.")
    ] = "",
) -> None:
    """Copy weights into the package, and their hash, accuracy and commands into the index."""
    rows = shipped()
    for run in runs:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        source = run / "weights.safetensors"
        made = read_network(source)
        network = made.spec.name
        target = ASSETS / f"two_branch_{network}.safetensors"
        lender = next((row for row in rows.values() if _has_context_of(made, row)), None)
        if lender is None and source.stat().st_size > MAX_FLOAT16_BYTES:
            if not data:
                raise SystemExit(f"{source} is to be written in 8 bits, which has to be judged; give --data")
            write_weights(target, made, {"config": json.dumps(result["options"])}, in_8_bits=True)
            result |= _judge(target, data, TrainConfig.from_tree(result["options"]))
        elif lender is None:
            shutil.copyfile(source, target)
        else:  # trained with frozen=1: its context is in the package already
            write_weights(target, made, {"config": json.dumps(result["options"])}, ASSETS / lender.file)
        target.chmod(0o644)  # temporary files are for their writer alone
        rows[network] = ShippedWeights(
            network=network,
            file=target.name,
            sha256=hashlib.sha256(target.read_bytes()).hexdigest(),
            miou=result["miou"],
            iou=result["iou"],
            commands=_commands(result["commands"], rows.get(network)),
        )
    size = sum((ASSETS / row.file).stat().st_size for row in rows.values())
    if size > MAX_WEIGHTS_BYTES:
        raise SystemExit(
            f"the shipped weights would take {size / 1e6:.1f} MB; the limit is {MAX_WEIGHTS_BYTES / 1e6:g} MB"
        )
    text = json.dumps([asdict(rows[name]) for name in sorted(rows)], indent=1)
    (ASSETS / INDEX).write_text(text + "\n", encoding="utf-8")


def _commands(run: Sequence[str], before: ShippedWeights | None) -> tuple[str, ...]:
    """All commands that lead to weights: those of the shipped ones first, where the run began from them."""
    words = shlex.split(run[0])
    if before is None or ("--start", SHIPPED) not in pairwise(words):
        return tuple(run)
    return (*before.commands, *run)


def _judge(weights: Path, data: str, options: TrainConfig) -> dict[str, Any]:
    """Accuracy of weights as they were written."""
    network = read_network(weights)
    confusion = evaluate_network(network, SizedFrames(open_dataset(data), options.frame_hw), len(network.labels))
    return {"miou": round(100 * confusion.mean_iou, 2), "iou": per_class(confusion, network.labels)}


def _has_context_of(network: TwoBranch, row: ShippedWeights) -> bool:
    """Whether a network with its own stem has the stem and the context of another one that is shipped."""
    other = read_network(ASSETS / row.file)
    if not network.spec.own_stem or other.spec.own_stem:
        return False
    pairs = zip(network.backbone, other.backbone, strict=True)
    states = [(ours.state_dict(), theirs.state_dict()) for ours, theirs in pairs]
    return all(a.keys() == b.keys() and all(torch.equal(a[key].half(), b[key].half()) for key in a) for a, b in states)


if __name__ == "__main__":
    typer.run(ship)
