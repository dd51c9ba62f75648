"""The torch modules that make up an imported graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Bound(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A function with its leading arguments bound to constant arrays, which are buffers."""

    def __init__(self, function: Callable[..., Any], *arrays: NDArray[Any]) -> None:
        super().__init__()
        self._function = function
        for index, array in enumerate(arrays):
            self.register_buffer(f"constant{index}", tensor_of(array))

    def forward(self, *tensors: Tensor | None) -> Any:
        """Call the function."""
        return self._function(*self.buffers(), *tensors)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeCall:
    """The call that computes one node.

    Attributes:
        function: Computes the outputs.
        inputs: Names of its input tensors; empty for an omitted optional input.
        outputs: Names of its output tensors; empty for an unused one.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class ImportedModule(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """An ONNX graph as a torch module: a list of calls over named tensors.

    Shapes are static and there is no control flow, so ``torch.export`` can trace it. Constants are buffers.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        calls: Sequence[NodeCall],
        constants: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__()
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._calls = tuple(calls)
        self._last_uses = _last_uses(self._calls, keep={*self._outputs, *constants})
        self._constants = {name: f"constant{index}" for index, name in enumerate(constants)}
        for name, array in constants.items():
            self.register_buffer(self._constants[name], tensor_of(array))
        # Register functions that are modules, so that their buffers move and export with the rest.
        self._parts = nn.ModuleList(call.function for call in calls if isinstance(call.function, nn.Module))

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        """Compute the outputs.

        Args:
            *inputs: The graph's inputs in order.
            **named: Inputs by name; a TFLite file converted with these keeps the names.

        Returns:
            The output, or a tuple if the graph has several.

        Raises:
            TypeError: If inputs are missing, too many, or unknown.
        """
        arguments = {**dict(zip(self._inputs, inputs, strict=False)), **named}
        if len(inputs) + len(named) != len(self._inputs) or set(arguments) != set(self._inputs):
            raise TypeError(
                f"expected {len(self._inputs)} inputs {self._inputs}, got {len(inputs)} in order and {sorted(named)}"
            )
        outputs = self.compute(arguments)
        return outputs[0] if len(outputs) == 1 else outputs

    def compute(
        self, inputs: Mapping[str, Tensor], change: Callable[[str, Tensor], Tensor | None] | None = None
    ) -> tuple[Tensor, ...]:
        """Compute the outputs.

        Args:
            inputs: By name.
            change: May replace constants, and every tensor as it is computed, by name; ``None`` for one that nodes can
                do without.
        """
        values: dict[str, Any] = {"": None, **inputs}
        values.update((name, getattr(self, buffer)) for name, buffer in self._constants.items())
        if change is not None:
            values.update((name, change(name, values[name])) for name in self._constants)
        for call, last_used in zip(self._calls, self._last_uses, strict=True):
            result = call.function(*(values[name] for name in call.inputs))
            results = result if isinstance(result, tuple) else (result,)
            for name, value in zip(call.outputs, results, strict=False):
                if name:
                    values[name] = value if change is None else change(name, value)
            for name in last_used:
                values.pop(name, None)
        return tuple(values[name] for name in self._outputs)

    @property
    def constants(self) -> frozenset[str]:
        """Names of the constants that calls read as tensors."""
        return frozenset(self._constants)


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A torch copy of a numpy array."""
    return torch.from_numpy(np.array(array, order="C", copy=True))


def _last_uses(calls: Sequence[NodeCall], keep: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """For each call the tensors that no later call reads, so that eager runs can free them."""
    live = {"", *keep}
    released: list[tuple[str, ...]] = []
    for call in reversed(calls):
        names = {name for name in (*call.inputs, *call.outputs) if name not in live}
        live |= names
        released.append(tuple(sorted(names)))
    return tuple(reversed(released))
