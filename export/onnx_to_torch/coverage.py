"""The coverage page of the documentation, written from the operator table."""

from __future__ import annotations

from edge_vseg.export.onnx_to_torch.folding import ALWAYS_FOLDED
from edge_vseg.export.onnx_to_torch.node import DTYPES
from edge_vseg.export.onnx_to_torch.operator_spec import Operator
from edge_vseg.export.onnx_to_torch.table import FAMILIES, TABLE

_INTRODUCTION = """\
# Operators for TFLite

A TFLite variant is made by way of torch: the ONNX graph is imported with the table below, converted by
litert-torch and quantized by ai-edge-quantizer. ONNX Runtime and OpenVINO read ONNX themselves and are not bound
by this table. A network with an operator, or a feature of one, that is missing here is refused by name; export it
with `--runtimes onnxruntime,openvino`.

- {count} operators. Each is tested against the backend node tests of the ONNX standard, where its older versions
  differ against ONNX Runtime, and through TFLite between two convolutions.
- *Versions* are those of the operator itself: the opset in which its definition last changed. Together they cover
  opsets 7 to 21, and newer ones as far as the operators did not change.
- Shapes are static, and the inputs that set a shape (the target of a Reshape, the sizes of a Resize, axes, pads)
  are constants or computed from shapes.
- Element types: {types}.
- Operators of the standard whose inputs are all constants are computed at import, whether they are in the table
  or not. {folded} always are.

This page is written by `edge_vseg.export.onnx_to_torch.coverage`; a test keeps it up to date.
"""


def coverage_markdown() -> str:
    """The page as Markdown: an introduction and one table per family of operators."""
    introduction = _INTRODUCTION.format(
        count=len(TABLE),
        types=", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values()),
        folded=_listed(sorted(ALWAYS_FOLDED)),
    )
    parts = [introduction, *(_family(name, rows) for name, rows in FAMILIES.items())]
    return "\n".join(parts)


def _family(name: str, rows: tuple[Operator, ...]) -> str:
    lines = [f"## {name}", "", "| operator | versions | covered | refused |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row.name):
        versions = ", ".join(str(version) for version in row.versions)
        lines.append(f"| {row.name} | {versions} | {row.covers or 'all of it'} | {row.refuses} |")
    return "\n".join([*lines, ""])


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
