"""From a checked ONNX graph to a torch module, node by node over the operator table."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from edge_vseg.errors import DynamicShapeError, ExportError, ModelFileError, UnsupportedOperatorError
from edge_vseg.export.onnx_to_torch.folding import ALWAYS_FOLDED, fold, foldable
from edge_vseg.export.onnx_to_torch.gelu import SINCE_OPSET, fuse_gelu
from edge_vseg.export.onnx_to_torch.module import ImportedModule, Step
from edge_vseg.export.onnx_to_torch.node import DTYPES, Node, Tensor, Value, describe
from edge_vseg.export.onnx_to_torch.operator_spec import Function, Operator
from edge_vseg.export.onnx_to_torch.table import TABLE

_LOG = logging.getLogger(__name__)
_STANDARD = ("", "ai.onnx")
_NAMED_AT_MOST = 5


def to_torch(model: onnx.ModelProto) -> torch.nn.Module:
    """Import an ONNX graph as a torch module that ``torch.export`` and litert-torch can take.

    Args:
        model: A checked model with static input shapes, operators of the ONNX standard and weights inside.

    Returns:
        A module in evaluation mode. ``forward`` takes the graph's inputs in order and returns the output, or a
        tuple where the graph has several. Weights are buffers.

    Raises:
        UnsupportedOperatorError: If operators, or features of operators, are outside the table; the message
            names them all.
        DynamicShapeError: If an input has a dimension that is not a number.
        ModelFileError: If a node reads a tensor that nothing makes.
        ExportError: If a node contradicts the shapes of its inputs.
    """
    return _Importer(model).run()


class _Importer:
    """One walk over the graph: what is known is folded, the rest becomes steps."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._opsets = {
            "" if entry.domain in _STANDARD else entry.domain: entry.version for entry in model.opset_import
        }
        self._opset = self._opsets.get("", 0)
        self._nodes = fuse_gelu(self._graph) if self._opset >= SINCE_OPSET else list(self._graph.node)
        reads = [name for proto in self._nodes for name in proto.input]
        self._readers = Counter([*reads, *(output.name for output in self._graph.output)])
        self._values: dict[str, Value] = {}
        self._unknown: set[str] = set()
        self._steps: list[Step] = []
        self._missing: dict[str, list[str]] = {}
        self._problems: list[str] = []

    def run(self) -> ImportedModule:
        """Import the whole graph, collecting every problem before raising."""
        inputs = self._read_inputs()
        for proto in self._nodes:
            self._import(proto)
        if self._missing or self._problems:
            raise UnsupportedOperatorError(self._complaint())
        outputs = [self._find(output.name, "the graph's outputs").name for output in self._graph.output]
        module = ImportedModule(
            inputs=inputs, outputs=outputs, steps=self._steps, constants=self._used_constants(outputs)
        )
        _LOG.debug("%d nodes became %d steps", len(self._graph.node), len(self._steps))
        module.eval()
        return module

    def _read_inputs(self) -> list[str]:
        """Register initialisers and inputs; an input with an initialiser is a constant."""
        for tensor in self._graph.initializer:
            self._values[tensor.name] = Value.constant(tensor.name, numpy_helper.to_array(tensor))
        for sparse in self._graph.sparse_initializer:
            self._problems.append(f"initialiser '{sparse.values.name}' is sparse")
        names = [info.name for info in self._graph.input if info.name not in self._values]
        for info in self._graph.input:
            if info.name not in self._values:
                self._read_input(info)
        return names

    def _read_input(self, info: onnx.ValueInfoProto) -> None:
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or tensor.elem_type not in DTYPES:
            self._problems.append(f"input '{info.name}' has an element type outside {_dtype_names()}")
            self._unknown.add(info.name)
            return
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if not tensor.HasField("shape") or None in sizes:
            shown = [dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim]
            raise DynamicShapeError(f"input '{info.name}' has shape {shown}, expected numbers only; give --input-size")
        shape = tuple(size for size in sizes if size is not None)
        self._values[info.name] = Value(name=info.name, shape=shape, dtype=DTYPES[tensor.elem_type])

    def _import(self, proto: onnx.NodeProto) -> None:
        """Fold the node, or add its step; on a problem note it and go on."""
        operator = TABLE.get(proto.op_type) if proto.domain in _STANDARD else None
        if any(name in self._unknown for name in proto.input):
            if operator is None and proto.op_type not in ALWAYS_FOLDED:
                self._note_missing(proto)
            self._unknown.update(proto.output)
            return
        inputs = tuple(self._find(name, describe(proto)) if name else None for name in proto.input)
        if proto.domain in _STANDARD and foldable(proto, inputs):
            for name, array in zip(proto.output, fold(proto, inputs, self._opsets), strict=False):
                self._values[name] = Value.constant(name, array)
            return
        if operator is None:
            self._note_missing(proto)
            self._unknown.update(proto.output)
            return
        try:
            self._add_step(proto, operator, inputs)
        except UnsupportedOperatorError as exc:
            self._problems.append(str(exc))
            self._unknown.update(proto.output)

    def _note_missing(self, proto: onnx.NodeProto) -> None:
        self._missing.setdefault(_qualified(proto), []).append(proto.name or proto.output[0])

    def _add_step(self, proto: onnx.NodeProto, operator: Operator, inputs: tuple[Value | None, ...]) -> None:
        node = Node(proto=proto, version=self._since(proto, operator), inputs=inputs)
        for index in operator.constants:
            if node.has_input(index) and node.array(index) is None:
                raise node.unsupported(f"input {index} ('{node.value(index).name}') must be a constant")
        function = operator.build(node)
        taken = [value for index, value in enumerate(inputs) if index not in operator.constants]
        names = tuple("" if value is None else value.name for value in taken)
        self._steps.append(Step(function=function, inputs=names, outputs=tuple(proto.output)))
        made = _trace(node, function, [None if value is None else _meta(node, value) for value in taken])
        for name, tensor in zip(proto.output, made, strict=False):
            if 0 in tensor.shape:
                raise node.unsupported(f"its output '{name}' has no elements, shape {tuple(tensor.shape)}")
            self._values[name] = Value(
                name=name,
                shape=tuple(tensor.shape),
                dtype=tensor.dtype,
                maker=proto.op_type,
                readers=self._readers[name],
            )

    def _since(self, proto: onnx.NodeProto, operator: Operator) -> int:
        try:
            version = int(onnx.defs.get_schema(proto.op_type, self._opset, "").since_version)
        except onnx.defs.SchemaError as exc:
            raise UnsupportedOperatorError(
                f"{describe(proto)}: opset {self._opset} has no such operator; check the model with onnx.checker"
            ) from exc
        if version not in operator.versions:
            known = ", ".join(str(known) for known in operator.versions)
            raise UnsupportedOperatorError(
                f"{describe(proto)}: version {version} of the operator (opset {self._opset}); "
                f"versions {known} are covered, convert the model to opset 20"
            )
        return version

    def _find(self, name: str, reader: str) -> Value:
        try:
            return self._values[name]
        except KeyError:
            raise ModelFileError(
                f"{reader} reads '{name}', which no earlier node makes; the file is damaged or not sorted, "
                "check it with onnx.checker.check_model"
            ) from None

    def _used_constants(self, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        used = {name for step in self._steps for name in step.inputs} | set(outputs)
        found = {name: self._values[name].array for name in sorted(used & self._values.keys())}
        return {name: array for name, array in found.items() if array is not None}

    def _complaint(self) -> str:
        missing = [f"{name} ({_shortened(nodes)})" for name, nodes in sorted(self._missing.items())]
        parts = []
        if missing:
            parts.append(f"operators outside the table: {', '.join(missing)}")
        if self._problems:
            parts.append(f"features that are not covered: {'; '.join(self._problems)}")
        return (
            f"the TFLite export cannot take this graph: {'; '.join(parts)}. Export for the other runtimes with "
            "--runtimes onnxruntime,openvino, or change the network (docs/operators.md lists what is covered)"
        )


def _meta(node: Node, value: Value) -> Tensor:
    """A stand-in without data, of the value's shape and type."""
    if value.dtype is None:
        raise node.unsupported(f"'{value.name}' has an element type outside {_dtype_names()}")
    if 0 in value.shape:
        raise node.unsupported(f"'{value.name}' has no elements, shape {value.shape}")
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _trace(node: Node, function: Function, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Run the function without data, for the shapes and types of its outputs."""
    if isinstance(function, torch.nn.Module):
        function = copy.deepcopy(function).to("meta")
    try:
        result = function(*inputs)
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as exc:
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in inputs]
        raise ExportError(
            f"{describe(node.proto)} cannot work on inputs of shapes {shapes} ({exc}); "
            "check the model with onnx.checker.check_model(full_check=True)"
        ) from exc
    return result if isinstance(result, tuple) else (result,)


def _qualified(proto: onnx.NodeProto) -> str:
    return proto.op_type if proto.domain in _STANDARD else f"{proto.domain}::{proto.op_type}"


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED_AT_MOST])
    return shown if len(names) <= _NAMED_AT_MOST else f"{shown} and {len(names) - _NAMED_AT_MOST} more"


def _dtype_names() -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
