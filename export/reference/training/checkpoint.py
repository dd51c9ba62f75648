"""The state of a run: average of the weights, and checkpoints that a stop cannot damage."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_vseg.errors import OptionError, WeightsError
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

CHECKPOINT = "checkpoint.pt"


class Average:
    """Exponential moving average of a network's weights and batch statistics.

    The decay climbs from 0, so that the first steps, which start from chance, are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            fresh = network.state_dict()
            for key, value in self.network.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(fresh[key], 1 - decay)
                else:
                    value.copy_(fresh[key])


@dataclass(slots=True, kw_only=True)
class RunState:
    """What changes from step to step.

    Attributes:
        network: The network in training; with its auxiliary head.
        average: Its average.
        optimizer: Its optimizer.
        step: Steps done.
    """

    network: nn.Module
    average: Average
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, folder: Path, config: TrainConfig) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = folder / f".{CHECKPOINT}.partial"
        tree = {
            "config": json.dumps(config.tree()),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(tree, partial)
        partial.replace(folder / CHECKPOINT)

    def resume(self, folder: Path, config: TrainConfig) -> None:
        """Go on from the checkpoint in a folder, if there is one.

        Raises:
            OptionError: If it belongs to other options.
            WeightsError: If it is damaged.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return
        tree = _read(path, "delete it to begin anew")
        before = json.loads(tree["config"])
        now = config.tree()
        if changed := sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key)):
            raise OptionError(
                f"{path} was made with other options ({', '.join(changed)}); give the same ones to go on, or another"
                " folder and --start to begin a new run with its weights"
            )
        self.network.load_state_dict(tree["network"])
        self.average.network.load_state_dict(tree["average"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.step = tree["step"]


def read_average(path: Path) -> TwoBranch:
    """The average of a run that may not be finished: a network to begin another run with, in evaluation mode.

    Args:
        path: Its ``checkpoint.pt``.

    Raises:
        WeightsError: If it is missing or damaged.
    """
    instead = "give another one with --start"
    tree = _read(path, instead)
    prefix = "network."
    state = {key.removeprefix(prefix): value for key, value in tree["average"].items() if key.startswith(prefix)}
    try:
        network = TwoBranch(SPECS[json.loads(tree["config"])["network"]])
        network.load_state_dict(state)
    except (KeyError, RuntimeError) as exc:
        raise WeightsError(f"{path} holds no network of the family; {instead}") from exc
    network.eval()
    return network


def _read(path: Path, instead: str) -> dict[str, Any]:
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
        json.loads(tree["config"])
        if not isinstance(tree["average"], dict):
            raise TypeError("no weights")
    except FileNotFoundError as exc:
        raise WeightsError(f"there is no {path}; {instead}") from exc
    except Exception as exc:  # of a damaged file torch makes almost any kind
        raise WeightsError(f"{path} is damaged; {instead}") from exc
    return dict(tree)
