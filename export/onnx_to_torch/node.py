"""One ONNX node as an operator builder sees it: attributes, inputs, static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.errors import UnsupportedOperatorError
from edge_vseg.export.graph.layer_names import noted_layer

TORCH_DTYPES: dict[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}
"""Supported element types: those of both TFLite and torch on a CPU."""

_NUMPY: dict[np.dtype[Any], torch.dtype] = {
    np.dtype(helper.tensor_dtype_to_np_dtype(code)): dtype for code, dtype in TORCH_DTYPES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        name: Its name in the ONNX graph.
        shape: Its static shape.
        dtype: Its torch element type; ``None`` for a constant of an unsupported type.
        array: Its content if it is a constant, else ``None``.
        producer: ``op_type`` of the node that produces it; empty for inputs and constants.
        consumers: Number of nodes and graph outputs that read it.
        nonnegative: Whether it is known to hold no negative number.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    array: NDArray[Any] | None = None
    producer: str = ""
    consumers: int = 1
    nonnegative: bool = False

    @classmethod
    def constant(cls, name: str, array: NDArray[Any]) -> Value:
        """A constant tensor."""
        nonnegative = array.dtype.kind in "buif" and bool((array >= 0).all())
        return cls(name=name, shape=array.shape, dtype=_NUMPY.get(array.dtype), array=array, nonnegative=nonnegative)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A node with everything known about it at export time.

    Attributes:
        proto: The ONNX node.
        version: The opset that introduced this version of the operator (its *since version*).
        inputs: Its inputs in order; ``None`` for an omitted optional input.
    """

    proto: onnx.NodeProto
    version: int
    inputs: tuple[Value | None, ...]

    def unsupported(self, reason: str) -> UnsupportedOperatorError:
        """An error for an unsupported feature of this node; the caller raises it."""
        return UnsupportedOperatorError(f"{node_description(self.proto)}: {reason}")

    def has_input(self, index: int) -> bool:
        """Whether input ``index`` is present."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def uses_output(self, index: int) -> bool:
        """Whether output ``index`` is named, so that something may read it."""
        return index < len(self.proto.output) and self.proto.output[index] != ""

    def value(self, index: int) -> Value:
        """Input ``index``.

        Raises:
            UnsupportedOperatorError: If the node does not have it.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.unsupported(f"input {index} is missing")
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Static shape of input ``index``."""
        return self.value(index).shape

    def rank(self, index: int = 0) -> int:
        """Number of dimensions of input ``index``."""
        return len(self.value(index).shape)

    def array(self, index: int) -> NDArray[Any] | None:
        """Content of constant input ``index``; ``None`` if it is absent or computed."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else value.array

    def scalar(self, index: int) -> float | int | None:
        """Input ``index`` as a number if it is a constant of one element, else ``None``."""
        array = self.array(index)
        if array is None or array.size != 1 or array.dtype == np.bool_:
            return None
        number: float | int = array.reshape(()).item()
        return number

    def input_ints(self, index: int) -> tuple[int, ...] | None:
        """Constant input ``index`` as integers; ``None`` if it is absent."""
        array = self.array(index)
        return None if array is None else tuple(int(item) for item in array.reshape(-1))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute ``name`` as a Python value, or ``default``."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return default

    def integer(self, name: str, default: int) -> int:
        """Integer attribute."""
        return int(self.attribute(name, default))

    def real(self, name: str, default: float) -> float:
        """Float attribute."""
        return float(self.attribute(name, default))

    def text(self, name: str, default: str) -> str:
        """String attribute."""
        raw = self.attribute(name, default)
        return raw.decode() if isinstance(raw, bytes) else str(raw)

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Integer-list attribute, or ``default``."""
        raw = self.attribute(name, default)
        return None if raw is None else tuple(int(item) for item in raw)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """``axis`` as a non-negative index.

        Raises:
            UnsupportedOperatorError: If the tensor has no such axis.
        """
        rank = self.rank() if rank is None else rank
        if not -rank <= axis < rank:
            raise self.unsupported(f"axis {axis} of a tensor of {rank} dimensions")
        return axis % rank


def node_description(proto: onnx.NodeProto) -> str:
    """``Resize (node 'up_1', layer 'decoder.up')``; an unnamed node is identified by its first output."""
    name = f"node '{proto.name}'" if proto.name else f"the node that produces '{proto.output[0]}'"
    layer = noted_layer(proto)
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}::"
    return f"{domain}{proto.op_type} ({name}, layer '{layer}')" if layer else f"{domain}{proto.op_type} ({name})"


def torch_dtype(array: NDArray[Any]) -> torch.dtype | None:
    """Torch element type of a numpy array, ``None`` where torch or TFLite has none."""
    return _NUMPY.get(array.dtype)
