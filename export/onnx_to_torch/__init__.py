"""Convert an ONNX graph to a torch module; the first step of the TFLite export."""

from __future__ import annotations

from edge_vseg.export.onnx_to_torch.importer import to_torch

__all__ = ["to_torch"]
