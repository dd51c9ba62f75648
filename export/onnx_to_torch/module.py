"""The torch modules that an imported graph consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_vseg.export.onnx_to_torch.node import Tensor


class Bound(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A function of constant arrays and tensors; the arrays are buffers and come first."""

    def __init__(self, function: Callable[..., Any], *arrays: NDArray[Any]) -> None:
        super().__init__()
        self._function = function
        for index, array in enumerate(arrays):
            self.register_buffer(f"constant{index}", tensor_of(array))

    def forward(self, *tensors: Tensor | None) -> Any:
        """Call the function."""
        return self._function(*self.buffers(), *tensors)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One node at work.

    Attributes:
        function: Computes the outputs.
        inputs: Names of the tensors it takes; the empty name is an absent optional one.
        outputs: Names of the tensors it makes; the empty name is one that nobody reads.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ImportedModule(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """An ONNX graph as a torch module: straight-line code over named tensors.

    Every shape is static and nothing depends on the data, so ``torch.export`` traces it as it is. Constants
    are buffers.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        steps: Sequence[Step],
        constants: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__()
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._steps = tuple(steps)
        self._spent = _last_uses(self._steps, keep={*self._outputs, *constants})
        self._constants = {name: f"constant{index}" for index, name in enumerate(constants)}
        for name, array in constants.items():
            self.register_buffer(self._constants[name], tensor_of(array))
        # A step that is itself a module is registered, so that its buffers move and export with the rest.
        self._parts = nn.ModuleList(step.function for step in steps if isinstance(step.function, nn.Module))

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Compute the outputs.

        Args:
            *inputs: The graph's inputs in order.
            **named: Or some of them by name; a TFLite file made with these keeps the names.

        Returns:
            The output, or a tuple of the outputs where the graph has several.

        Raises:
            TypeError: If inputs are missing, too many, or named otherwise.
        """
        given = {**dict(zip(self._inputs, inputs, strict=False)), **named}
        if len(inputs) + len(named) != len(self._inputs) or set(given) != set(self._inputs):
            raise TypeError(
                f"expected {len(self._inputs)} inputs {self._inputs}, got {len(inputs)} in order and {sorted(named)}"
            )
        values: dict[str, Any] = {"": None, **given}
        values.update((name, getattr(self, buffer)) for name, buffer in self._constants.items())
        for step, spent in zip(self._steps, self._spent, strict=True):
            result = step.function(*(values[name] for name in step.inputs))
            made = result if isinstance(result, tuple) else (result,)
            values.update((name, value) for name, value in zip(step.outputs, made, strict=False) if name)
            for name in spent:
                values.pop(name, None)
        outputs = tuple(values[name] for name in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A torch copy of a numpy array."""
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _last_uses(steps: Sequence[Step], keep: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """For each step the tensors that no later step reads, so that eager runs hold no more than they must."""
    seen = {"", *keep}
    spent: list[tuple[str, ...]] = []
    for step in reversed(steps):
        names = {name for name in (*step.inputs, *step.outputs) if name not in seen}
        seen |= names
        spent.append(tuple(sorted(names)))
    return tuple(reversed(spent))
