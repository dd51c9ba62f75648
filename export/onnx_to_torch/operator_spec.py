"""One row of the operator table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge_vseg.export.onnx_to_torch.node import Node

Function: TypeAlias = Callable[..., Any]
"""The node at work: takes its tensor inputs in order, gives a tensor or a tuple of tensors."""

Builder: TypeAlias = Callable[[Node], Function]
"""Reads a node once and gives its :data:`Function`; raises ``UnsupportedOperatorError`` for a feature outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """How one ONNX operator is imported.

    Attributes:
        name: Its ``op_type`` in the ONNX standard's own domain.
        versions: The *since versions* whose rules the builder follows; another one is refused.
        build: Makes the function of a node.
        constants: Inputs that the builder reads by itself and that must therefore be constants, such as the
            shape of a Reshape. The function does not get them.
        covers: What is supported, for the coverage page.
        refuses: What raises ``UnsupportedOperatorError``, for the coverage page.
    """

    name: str
    versions: tuple[int, ...]
    build: Builder
    constants: tuple[int, ...] = ()
    covers: str = ""
    refuses: str = ""

    def __post_init__(self) -> None:
        """Refuse a row without versions or with versions out of order."""
        if not self.versions or list(self.versions) != sorted(set(self.versions)):
            raise ValueError(f"{self.name}: versions must be a rising sequence, got {self.versions}")
