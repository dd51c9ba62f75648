"""Give a trained network other classes: a new last layer, and everything before it as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.zoo.spec import SCORES_STRIDE, STEM_STRIDE
from edge_vseg.export.reference.zoo.two_branch import TwoBranch

_SPREAD = (STEM_STRIDE // SCORES_STRIDE) ** 2
"""Channels of a class before they are spread over the cells of stride 4."""
_SEED = 0


def with_labels(network: TwoBranch, labels: Sequence[Label]) -> TwoBranch:
    """A network for other classes, with the weights of a trained one.

    A class that both have, by name, keeps its weights in the last layer; the others begin with random ones.

    Args:
        network: A trained network that knows its ``labels``.
        labels: The classes that are wanted.

    Returns:
        Another network, in evaluation mode; the same weights if the classes are the same.
    """
    made = TwoBranch(replace(network.spec, classes=len(labels)))
    made.labels = tuple(labels)
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("detail.scores.")}
    made.load_state_dict(state, strict=False)
    before, after = network.detail.scores, made.detail.scores
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        nn.init.kaiming_uniform_(after.weight, a=5**0.5)
        nn.init.zeros_(after.bias)
    known = {label.name.lower(): label.id for label in network.labels}
    with torch.no_grad():
        for label in labels:
            if (old := known.get(label.name.lower())) is not None:
                ours, theirs = (slice(each * _SPREAD, (each + 1) * _SPREAD) for each in (label.id, old))
                after.weight[ours], after.bias[ours] = before.weight[theirs], before.bias[theirs]
    made.eval()
    return made
