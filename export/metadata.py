"""Metadata inside the graphs, under the names that openvino-model-api reads, so that its clients open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx

from edge_vseg.bundle.manifest import Label

if TYPE_CHECKING:
    import openvino as ov


def model_info(labels: Sequence[Label]) -> dict[str, str]:
    """What another client has to know: raw BGR bytes in, logits out whose largest channel wins.

    A blur strength of -1 asks for a plain argmax instead of thresholded probabilities.
    """
    return {
        "model_type": "Segmentation",
        "labels": " ".join(label.name.replace(" ", "_") for label in labels),
        "resize_type": "standard",
        "mean_values": "0 0 0",
        "scale_values": "1 1 1",
        "reverse_input_channels": "False",
        "blur_strength": "-1",
        "return_soft_prediction": "False",
    }


def tag_onnx(model: onnx.ModelProto, labels: Sequence[Label]) -> None:
    """Write the metadata into ``metadata_props``, replacing what the source's tool left there."""
    del model.metadata_props[:]
    for key, value in model_info(labels).items():
        model.metadata_props.add(key=f"model_info {key}", value=value)


def tag_openvino(model: ov.Model, labels: Sequence[Label]) -> None:
    """Write the metadata into ``rt_info/model_info``."""
    for key, value in model_info(labels).items():
        model.set_rt_info(value, ["model_info", key])
