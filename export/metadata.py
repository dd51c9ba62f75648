"""Metadata inside the graphs, under the names that openvino-model-api reads, so that its clients open them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx

from edge_vseg.bundle.manifest import Label, Letterbox, Resize

if TYPE_CHECKING:
    import openvino as ov


def model_info(labels: Sequence[Label], resize: Resize = "stretch") -> dict[str, str]:
    """What another client has to know: raw BGR bytes in, logits out whose largest channel wins.

    A letterbox's border is grey for them: they know no colours. A blur strength of -1 asks for a plain argmax instead
    of thresholded probabilities.
    """
    how = {"resize_type": "standard"}
    if isinstance(resize, Letterbox):
        how = {"resize_type": "fit_to_window_letterbox", "pad_value": str(round(sum(resize.border_rgb) / 3))}
    return {
        "model_type": "Segmentation",
        "labels": " ".join(label.name.replace(" ", "_") for label in labels),
        **how,
        "mean_values": "0 0 0",
        "scale_values": "1 1 1",
        "reverse_input_channels": "False",
        "blur_strength": "-1",
        "return_soft_prediction": "False",
    }


def tag_onnx(model: onnx.ModelProto, labels: Sequence[Label], resize: Resize = "stretch") -> None:
    """Write the metadata into ``metadata_props``, replacing what the source's tool left there."""
    del model.metadata_props[:]
    for key, value in model_info(labels, resize).items():
        model.metadata_props.add(key=f"model_info {key}", value=value)


def tag_openvino(model: ov.Model, labels: Sequence[Label], resize: Resize = "stretch") -> None:
    """Write the metadata into ``rt_info/model_info``."""
    for key, value in model_info(labels, resize).items():
        model.set_rt_info(value, ["model_info", key])
