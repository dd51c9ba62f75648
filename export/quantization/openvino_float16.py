"""float16 for OpenVINO: weights in half the bytes; each device computes in what it likes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from edge_vseg.bundle.manifest import Label, Resize
from edge_vseg.export.metadata import tag_openvino
from edge_vseg.export.quantization.float16_nodes import why_not_constant
from edge_vseg.export.quantization.openvino_qdq import save_openvino, to_openvino
from edge_vseg.export.telemetry import no_telemetry

with no_telemetry():
    import openvino as ov
    import openvino.opset13 as op

_MIN_WEIGHTS = 16
"""Smaller constants, such as bounds and means, are not worth their rounding."""


def write_openvino_float16(
    model: onnx.ModelProto, labels: Sequence[Label], path: Path, resize: Resize = "stretch"
) -> None:
    """:func:`~edge_vseg.export.quantization.openvino_qdq.write_openvino`, with weights in float16."""
    converted = to_openvino(model, path.parent)
    halve_weights(converted)
    tag_openvino(converted, labels, resize)
    save_openvino(converted, path)


def halve_weights(model: ov.Model) -> None:
    """Store weights in float16, in place; those that float16 cannot hold stay.

    ``ov.save_model`` can do that too, but cuts off what lies outside float16's range.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        value = np.array(node.get_data())
        if value.size < _MIN_WEIGHTS or why_not_constant(value):
            continue
        name, readers = node.get_friendly_name(), list(node.output(0).get_target_inputs())
        half = op.constant(value.astype(np.float16))
        half.set_friendly_name(f"{name}.float16")
        full = op.convert(half, "f32")
        full.set_friendly_name(name)
        for reader in readers:
            reader.replace_source_output(full.output(0))
