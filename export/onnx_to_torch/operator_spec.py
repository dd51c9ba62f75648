"""One row of the operator table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge_vseg.export.onnx_to_torch.node import Node

Function: TypeAlias = Callable[..., Any]
"""Computes a node: takes its tensor inputs in order, returns a tensor or a tuple of tensors."""

OperatorBuilder: TypeAlias = Callable[[Node], Function]
"""Returns the :data:`Function` of a node; raises ``UnsupportedOperatorError`` for an unsupported feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSpec:
    """How one ONNX operator is imported.

    Attributes:
        name: Its ``op_type`` in the default ONNX domain.
        versions: Supported *since versions*; others raise ``UnsupportedOperatorError``.
        build: Returns the function of a node.
        constants: Inputs that the builder reads, such as the shape of a Reshape. They must be constants, and the
            function does not get them.
        covers: Supported features, for docs/operators.md.
        refuses: Unsupported features, for docs/operators.md.
    """

    name: str
    versions: tuple[int, ...]
    build: OperatorBuilder
    constants: tuple[int, ...] = ()
    covers: str = ""
    refuses: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError if the versions are missing or out of order."""
        if not self.versions or list(self.versions) != sorted(set(self.versions)):
            raise ValueError(f"{self.name}: versions must be increasing, got {self.versions}")
