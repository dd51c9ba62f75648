"""Convert an ONNX graph to a torch module, node by node, with the operator table."""

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
from torch import Tensor

from edge_vseg.errors import DynamicShapeError, ExportError, ModelFileError, UnsupportedOperatorError
from edge_vseg.export.graph.gelu import SINCE_OPSET, fuse_gelu
from edge_vseg.export.graph.layer_names import noted_layer
from edge_vseg.export.onnx_to_torch.broadcasting import BROADCASTING, broadcasts_to
from edge_vseg.export.onnx_to_torch.folding import ALWAYS_FOLDED, fold, foldable
from edge_vseg.export.onnx_to_torch.module import ImportedModule, NodeCall
from edge_vseg.export.onnx_to_torch.node import TORCH_DTYPES, Node, Value, node_description
from edge_vseg.export.onnx_to_torch.operator_spec import Function, OperatorSpec
from edge_vseg.export.onnx_to_torch.pool_padding import fold_pool_padding
from edge_vseg.export.onnx_to_torch.signs import is_nonnegative
from edge_vseg.export.onnx_to_torch.table import TABLE

_LOG = logging.getLogger(__name__)
_STANDARD = ("", "ai.onnx")
_MAX_LISTED_NODES = 5


def to_torch(model: onnx.ModelProto) -> torch.nn.Module:
    """Convert an ONNX graph to a torch module for ``torch.export`` and litert-torch.

    Args:
        model: A checked model with static input shapes, standard ONNX operators and embedded weights.

    Returns:
        A module in evaluation mode. ``forward`` takes the graph inputs in order and returns the output, or a
        tuple if there are several. Weights are buffers.

    Raises:
        UnsupportedOperatorError: If operators, or features of operators, are not in the table; the message
            lists them all. The caller says what cannot be done with the graph, and what can.
        DynamicShapeError: If an input has a symbolic dimension.
        ModelFileError: If a node reads a tensor that no node produces.
        ExportError: If a node does not fit the shapes of its inputs.
    """
    return _Importer(model).run()


class _Importer:
    """One pass over the graph: fold constants, turn every other node into a :class:`NodeCall`."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._opsets = {
            "" if entry.domain in _STANDARD else entry.domain: entry.version for entry in model.opset_import
        }
        self._opset = self._opsets.get("", 0)
        nodes = fuse_gelu(self._graph) if self._opset >= SINCE_OPSET else list(self._graph.node)
        self._nodes = fold_pool_padding(nodes, self._graph)
        reads = [name for proto in self._nodes for name in proto.input]
        self._consumers = Counter([*reads, *(output.name for output in self._graph.output)])
        self._values: dict[str, Value] = {}
        self._expanded: dict[str, Value] = {}
        self._failed: set[str] = set()
        self._calls: list[NodeCall] = []
        self._missing: dict[str, list[str]] = {}
        self._problems: list[str] = []

    def run(self) -> ImportedModule:
        """Convert the whole graph; collect all problems before raising."""
        inputs = self._read_inputs()
        for proto in self._nodes:
            self._import(proto)
        if self._missing or self._problems:
            raise UnsupportedOperatorError(self._error_message())
        outputs = [self._lookup(output.name, "the graph's outputs").name for output in self._graph.output]
        module = ImportedModule(
            inputs=inputs, outputs=outputs, calls=self._calls, constants=self._used_constants(outputs)
        )
        _LOG.debug("%d nodes became %d calls", len(self._graph.node), len(self._calls))
        module.eval()
        return module

    def _read_inputs(self) -> list[str]:
        """Register initialisers and inputs; an input that has an initialiser is a constant."""
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
        if not info.type.HasField("tensor_type") or tensor.elem_type not in TORCH_DTYPES:
            self._problems.append(f"input '{info.name}' has an unsupported element type; supported: {_dtype_names()}")
            self._failed.add(info.name)
            return
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if not tensor.HasField("shape") or None in sizes:
            shown = [dim.dim_param or dim.dim_value or "?" for dim in tensor.shape.dim]
            raise DynamicShapeError(f"input '{info.name}' has shape {shown}, expected fixed sizes; set --input-size")
        shape = tuple(size for size in sizes if size is not None)
        self._values[info.name] = Value(name=info.name, shape=shape, dtype=TORCH_DTYPES[tensor.elem_type])

    def _import(self, proto: onnx.NodeProto) -> None:
        """Fold the node or add a call; record a problem and continue with the next node."""
        operator = TABLE.get(proto.op_type) if proto.domain in _STANDARD else None
        if any(name in self._failed for name in proto.input):
            if operator is None and proto.op_type not in ALWAYS_FOLDED:
                self._add_missing(proto)
            self._failed.update(proto.output)
            return
        inputs = tuple(self._lookup(name, node_description(proto)) if name else None for name in proto.input)
        inputs = self._before_expansion(proto, inputs)
        if proto.domain in _STANDARD and foldable(proto, inputs):
            for name, array in zip(proto.output, fold(proto, inputs, self._opsets), strict=False):
                self._values[name] = Value.constant(name, array)
            return
        if operator is None:
            self._add_missing(proto)
            self._failed.update(proto.output)
            return
        try:
            self._add_call(proto, operator, inputs)
        except UnsupportedOperatorError as exc:
            self._problems.append(str(exc))
            self._failed.update(proto.output)

    def _before_expansion(self, proto: onnx.NodeProto, inputs: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """The inputs, with what Expand enlarged as it was before where the operator broadcasts by itself.

        litert-converter 0.5 folds an expansion into the operator behind it and forgets its NHWC layout: ``tfl.mul
        operands don't have broadcast-compatible shapes``.
        """
        if proto.op_type not in BROADCASTING or len(inputs) != 2:
            return inputs
        left, right = inputs
        for index, (value, other) in enumerate(((left, right), (right, left))):
            small = None if value is None else self._expanded.get(value.name)
            if value is None or other is None or small is None or len(small.shape) != len(value.shape):
                continue
            if broadcasts_to(value.shape, other.shape):
                return (small, right) if index == 0 else (left, small)
        return inputs

    def _add_missing(self, proto: onnx.NodeProto) -> None:
        self._missing.setdefault(_qualified_name(proto), []).append(_shown(proto))

    def _add_call(self, proto: onnx.NodeProto, operator: OperatorSpec, inputs: tuple[Value | None, ...]) -> None:
        node = Node(proto=proto, version=self._since_version(proto, operator), inputs=inputs)
        for index in operator.constants:
            if node.has_input(index) and node.array(index) is None:
                raise node.unsupported(f"input {index} ('{node.value(index).name}') must be a constant")
        function = operator.build(node)
        arguments = [value for index, value in enumerate(inputs) if index not in operator.constants]
        names = tuple("" if value is None else value.name for value in arguments)
        self._calls.append(NodeCall(function=function, inputs=names, outputs=tuple(proto.output)))
        outputs = _trace(node, function, [None if value is None else _meta_tensor(node, value) for value in arguments])
        nonnegative = is_nonnegative(node)
        if proto.op_type in ("Expand", "Tile") and broadcasts_to(node.shape(), tuple(outputs[0].shape)):
            self._expanded[proto.output[0]] = node.value(0)
        for name, tensor in zip(proto.output, outputs, strict=False):
            if 0 in tensor.shape:
                raise node.unsupported(f"output '{name}' is empty, shape {tuple(tensor.shape)}")
            self._values[name] = Value(
                name=name,
                shape=tuple(tensor.shape),
                dtype=tensor.dtype,
                producer=proto.op_type,
                consumers=self._consumers[name],
                nonnegative=nonnegative,
            )

    def _since_version(self, proto: onnx.NodeProto, operator: OperatorSpec) -> int:
        try:
            version = int(onnx.defs.get_schema(proto.op_type, self._opset, "").since_version)
        except onnx.defs.SchemaError as exc:
            raise UnsupportedOperatorError(
                f"{node_description(proto)}: not an operator of opset {self._opset}; check the model with onnx.checker"
            ) from exc
        if version not in operator.versions:
            known = ", ".join(str(known) for known in operator.versions)
            raise UnsupportedOperatorError(
                f"{node_description(proto)}: version {version} of the operator (opset {self._opset}) is not supported; "
                f"supported: {known}. Convert the model to opset 20"
            )
        return version

    def _lookup(self, name: str, reader: str) -> Value:
        try:
            return self._values[name]
        except KeyError:
            raise ModelFileError(
                f"{reader} reads '{name}', which no earlier node produces: the file is damaged or not sorted; "
                "check it with onnx.checker.check_model"
            ) from None

    def _used_constants(self, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        used = {name for call in self._calls for name in call.inputs} | set(outputs)
        arrays = {name: self._values[name].array for name in sorted(used & self._values.keys())}
        return {name: array for name, array in arrays.items() if array is not None}

    def _error_message(self) -> str:
        missing = [f"{name} ({_abbreviate(nodes)})" for name, nodes in sorted(self._missing.items())]
        parts = []
        if missing:
            parts.append(f"unsupported operators: {', '.join(missing)}")
        if self._problems:
            parts.append(f"unsupported features: {'; '.join(self._problems)}")
        return f"{'; '.join(parts)} (docs/operators.md lists what is supported)"


def _meta_tensor(node: Node, value: Value) -> Tensor:
    """A tensor of the value's shape and type on the meta device, without data."""
    if value.dtype is None:
        raise node.unsupported(f"'{value.name}' has an unsupported element type; supported: {_dtype_names()}")
    if 0 in value.shape:
        raise node.unsupported(f"'{value.name}' is empty, shape {value.shape}")
    return torch.empty(value.shape, dtype=value.dtype, device="meta")


def _trace(node: Node, function: Function, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Run the function on meta tensors to learn the shapes and types of its outputs."""
    if isinstance(function, torch.nn.Module):
        function = copy.deepcopy(function).to("meta")
    try:
        result = function(*inputs)
    except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as exc:
        shapes = [None if tensor is None else tuple(tensor.shape) for tensor in inputs]
        raise ExportError(
            f"{node_description(node.proto)} does not accept inputs of shapes {shapes} ({exc}); "
            "check the model with onnx.checker.check_model(full_check=True)"
        ) from exc
    return result if isinstance(result, tuple) else (result,)


def _qualified_name(proto: onnx.NodeProto) -> str:
    return proto.op_type if proto.domain in _STANDARD else f"{proto.domain}::{proto.op_type}"


def _shown(proto: onnx.NodeProto) -> str:
    layer = noted_layer(proto)
    return f"'{proto.name or proto.output[0]}'" + (f" of layer '{layer}'" if layer else "")


def _abbreviate(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED_NODES])
    return shown if len(names) <= _MAX_LISTED_NODES else f"{shown} and {len(names) - _MAX_LISTED_NODES} more"


def _dtype_names() -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in TORCH_DTYPES.values())
