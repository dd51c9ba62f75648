"""mIoU of a torch network on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edge_vseg.analysis.datasets import LabelledFrame
from edge_vseg.analysis.metrics import Confusion
from edge_vseg.bundle.manifest import Label
from edge_vseg.export.reference.training.inputs import to_input


def evaluate_network(network: nn.Module, frames: Sequence[LabelledFrame], classes: int = 11) -> Confusion:
    """Segment every frame and compare with its labels at full resolution.

    Args:
        network: Returns ``(1, C, H, W)`` logits.
        frames: Labelled frames.
        classes: Number of classes.
    """
    device = next(network.parameters()).device
    confusion = Confusion(classes)
    for frame in frames:
        with torch.inference_mode():
            value = to_input([frame.image]).to(device, memory_format=torch.channels_last)
            scores = network(value).float()
            if scores.shape[-2:] != frame.labels.shape:
                scores = functional.interpolate(scores, frame.labels.shape, mode="bilinear", align_corners=False)
            confusion.add(frame.labels, scores[0].argmax(0).to("cpu", torch.uint8).numpy())
    return confusion


def iou_row(confusion: Confusion) -> dict[str, float]:
    """MIoU and pixel accuracy in percent, for the log."""
    return {
        "miou": 100 * float(np.nanmean(confusion.iou)),
        "pixel_accuracy": 100 * confusion.pixel_accuracy,
    }


def per_class(confusion: Confusion, labels: Sequence[Label]) -> dict[str, float | None]:
    """IoU of every class in percent, by name; ``None`` for a class that does not occur."""
    names = [label.name for label in labels]
    return {
        name: None if np.isnan(iou) else round(100 * float(iou), 2)
        for name, iou in zip(names, confusion.iou, strict=True)
    }
