"""State of a training run: averaged weights and atomically written checkpoints."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_vseg.bundle.labels import named_labels, same_classes
from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import OptionError, WeightsError
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.run_log import LossSums
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.files import write_whole

CHECKPOINT = "checkpoint.pt"


class Average:
    """Exponential moving average of a network's weights and batch statistics.

    The decay rises with the steps, so that the random initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Add the weights after a step."""
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
    """Everything that changes with each step.

    Attributes:
        network: The network in training, with its auxiliary head.
        average: Its moving average.
        optimizer: Its optimizer.
        step: Steps done.
        sources: What the run is made from, by name.
        losses: Those since the last evaluation.
    """

    network: nn.Module
    average: Average
    optimizer: torch.optim.Optimizer
    step: int = 0
    sources: dict[str, str] = field(default_factory=dict)
    losses: LossSums = field(default_factory=LossSums)

    def save(self, folder: Path, config: TrainConfig) -> None:
        """Write the checkpoint atomically.

        Raises:
            OutputError: If it cannot be written; the one before is then unchanged.
        """
        tree = {
            "config": json.dumps(config.tree()),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "sources": json.dumps(self.sources),
            "losses": asdict(self.losses),
            "labels": [[label.name, list(label.color)] for label in self.network.network.labels],
        }
        data = io.BytesIO()  # torch does not say what is wrong with a disk
        torch.save(tree, data)
        write_whole(folder / CHECKPOINT, data.getvalue())

    def resume(self, folder: Path, config: TrainConfig) -> None:
        """Load the checkpoint in a folder, if there is one.

        Raises:
            OptionError: If it was made with other options, classes or sources; old ones name no sources.
            WeightsError: If it is damaged.
        """
        path = folder / CHECKPOINT
        if not path.exists():
            return
        tree = _read_checkpoint(path, "delete it to start again")
        before = TrainConfig().tree() | json.loads(tree["config"])  # options that are newer than the checkpoint
        now = config.tree()
        if changed := sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key)):
            raise OptionError(
                f"{path} was made with other options ({', '.join(changed)}); use the same options to continue, or start"
                " a new run from its weights with --start and another folder"
            )
        if not same_classes(_labels(tree), self.network.network.labels):
            raise OptionError(f"{path} was made with other classes; start a new run in another folder")
        known = json.loads(tree.get("sources", "{}"))
        if other := [name for name, value in self.sources.items() if known.get(name, value) != value]:
            raise OptionError(
                f"{path} was made from something else ({', '.join(other)}); use the same to continue, or start a new"
                " run from its weights with --start and another folder"
            )
        self.network.load_state_dict(tree["network"])
        self.average.network.load_state_dict(tree["average"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.step = tree["step"]
        self.losses = LossSums(**tree.get("losses", {}))


def read_average(path: Path) -> TwoBranch:
    """The averaged network of a run, finished or not, in evaluation mode.

    Args:
        path: The run's ``checkpoint.pt``.

    Raises:
        WeightsError: If it is missing or damaged.
    """
    advice = "give another file with --start"
    tree = _read_checkpoint(path, advice)
    prefix = "network."
    state = {key.removeprefix(prefix): value for key, value in tree["average"].items() if key.startswith(prefix)}
    try:
        labels = _labels(tree)
        network = TwoBranch(replace(SPECS[json.loads(tree["config"])["network"]], classes=len(labels)))
        network.labels = labels
        network.load_state_dict(state)
    except (KeyError, RuntimeError) as exc:
        raise WeightsError(f"{path} does not hold a reference network; {advice}") from exc
    network.eval()
    return network


def _labels(tree: dict[str, Any]) -> tuple[Label, ...]:
    """The classes of a run; CamVid's in checkpoints that name none."""
    if "labels" not in tree:
        return named_labels("camvid")
    return tuple(
        Label(id=number, name=name, color=(color[0], color[1], color[2]))
        for number, (name, color) in enumerate(tree["labels"])
    )


def _read_checkpoint(path: Path, advice: str) -> dict[str, Any]:
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
        json.loads(tree["config"])
        if not isinstance(tree["average"], dict):
            raise TypeError("no weights")
    except FileNotFoundError as exc:
        raise WeightsError(f"{path} does not exist; {advice}") from exc
    except Exception as exc:  # torch raises almost any exception for a damaged file
        raise WeightsError(f"{path} is damaged; {advice}") from exc
    return dict(tree)
