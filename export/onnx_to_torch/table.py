"""The operator table: every operator that the importer supports."""

from __future__ import annotations

from edge_vseg.export.onnx_to_torch import (
    activation,
    arrangement,
    convolution,
    elementwise,
    linear,
    normalization,
    padding,
    pooling,
    reduction,
    resize,
    shape,
)
from edge_vseg.export.onnx_to_torch.operator_spec import OperatorSpec

FAMILIES: dict[str, tuple[OperatorSpec, ...]] = {
    "Convolution": convolution.OPERATORS,
    "Pooling": pooling.OPERATORS,
    "Resize": resize.OPERATORS,
    "Normalisation": normalization.OPERATORS,
    "Activation": activation.OPERATORS,
    "Elementwise": elementwise.OPERATORS,
    "Linear": linear.OPERATORS,
    "Reduction": reduction.OPERATORS,
    "Shape and type": shape.OPERATORS,
    "Arrangement": (*arrangement.OPERATORS, *padding.OPERATORS),
}

TABLE: dict[str, OperatorSpec] = {row.name: row for rows in FAMILIES.values() for row in rows}
