"""What a builder sees of one ONNX node: its attributes, its inputs and their static shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from edge_vseg.errors import UnsupportedOperatorError

Tensor: TypeAlias = torch.Tensor
DType: TypeAlias = torch.dtype

DTYPES: dict[int, DType] = {
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
"""Element types that torch computes with on a CPU and that TFLite has."""

_NUMPY: dict[np.dtype[Any], DType] = {
    np.dtype(helper.tensor_dtype_to_np_dtype(code)): dtype for code, dtype in DTYPES.items()
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        name: Its name in the ONNX graph.
        shape: Its static shape.
        dtype: Its torch element type; ``None`` for a constant of a type that torch cannot hold.
        array: Its content when it is a constant, else ``None``.
        maker: The ``op_type`` of the node that makes it; empty for inputs and constants.
        readers: How many nodes and graph outputs read it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType | None
    array: NDArray[Any] | None = None
    maker: str = ""
    readers: int = 1

    @classmethod
    def constant(cls, name: str, array: NDArray[Any]) -> Value:
        """A tensor whose content is known."""
        return cls(name=name, shape=array.shape, dtype=_NUMPY.get(array.dtype), array=array)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One node, with everything about it that is known before the network runs.

    Attributes:
        proto: The ONNX node.
        version: The opset in which this form of the operator appeared (its *since version*).
        inputs: Its inputs in order; ``None`` for an optional one that is absent.
    """

    proto: onnx.NodeProto
    version: int
    inputs: tuple[Value | None, ...]

    def unsupported(self, reason: str) -> UnsupportedOperatorError:
        """The error that says which feature of this node is not covered; to be raised by the caller."""
        return UnsupportedOperatorError(f"{describe(self.proto)}: {reason}")

    def has_input(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def uses_output(self, index: int) -> bool:
        """Whether somebody may read output ``index``."""
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
        """Content of input ``index`` where it is a constant; ``None`` where it is absent or computed."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else value.array

    def scalar(self, index: int) -> float | int | None:
        """Input ``index`` as a number where it is a constant of one element, else ``None``."""
        array = self.array(index)
        if array is None or array.size != 1 or array.dtype == np.bool_:
            return None
        number: float | int = array.reshape(()).item()
        return number

    def input_ints(self, index: int) -> tuple[int, ...] | None:
        """Constant input ``index`` as integers; ``None`` where it is absent."""
        array = self.array(index)
        return None if array is None else tuple(int(item) for item in array.reshape(-1))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute ``name`` as Python value, or ``default``."""
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
        """Attribute of a list of integers, or ``default``."""
        raw = self.attribute(name, default)
        return None if raw is None else tuple(int(item) for item in raw)

    def axis(self, axis: int, rank: int | None = None) -> int:
        """``axis`` counted from the front.

        Raises:
            UnsupportedOperatorError: If the tensor has no such axis.
        """
        rank = self.rank() if rank is None else rank
        if not -rank <= axis < rank:
            raise self.unsupported(f"axis {axis} of a tensor of {rank} dimensions")
        return axis % rank


def describe(proto: onnx.NodeProto) -> str:
    """``Resize (node 'up_1')``; an unnamed node goes by the tensor it makes."""
    name = f"node '{proto.name}'" if proto.name else f"the node that makes '{proto.output[0]}'"
    domain = "" if proto.domain in ("", "ai.onnx") else f"{proto.domain}::"
    return f"{domain}{proto.op_type} ({name})"


def torch_dtype(array: NDArray[Any]) -> DType | None:
    """Torch element type of a numpy array, ``None`` where torch or TFLite has none."""
    return _NUMPY.get(array.dtype)
