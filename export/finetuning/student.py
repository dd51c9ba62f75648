"""The int8 network as a torch module that can be trained: rounded in the forward pass, smooth in the backward pass.

Weights and biases are trained in units of the int8 step with which they start, so that one learning rate suits all
layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vseg.export.finetuning.rounded_tensors import RoundedActivation, RoundedWeight
from edge_vseg.export.graph.index import GraphIndex, prune, set_initializer
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.quantization.activations import rounded_names
from edge_vseg.export.quantization.integer_operators import split_hard_swish
from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS
from edge_vseg.export.quantization.sensitivity import Ranges
from edge_vseg.export.training_hardware import Arithmetic

GATE_RANGE = (0.0, 1.0)
"""Of what a HardSigmoid gives, in an int8 graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Convolution:
    """A convolution that is trained: its node's name, what it gives, its constants, and those in the float graph."""

    node: str
    output: str
    weight: str
    bias: str
    smooth_weight: str
    smooth_bias: str


class Student(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A graph whose convolutions and activations are rounded as the int8 graph's.

    Args:
        smooth: The float graph.
        rounded: The same graph with weights on the int8 grid and corrected biases.
        ranges: Range of every activation.
        levels: Largest integer of the weights' grid.
        arithmetic: Of convolutions and matrix products. All else is float32: what rounds, and what is added up.

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
    """

    def __init__(
        self,
        smooth: onnx.ModelProto,
        rounded: onnx.ModelProto,
        ranges: Ranges,
        *,
        levels: int = FULL_LEVELS,
        arithmetic: Arithmetic = "float32",
    ) -> None:
        super().__init__()
        self._arithmetic = arithmetic
        rounded = _as_int8_computes(rounded)
        self._graph = to_torch(rounded)
        self._convolutions = _convolutions(smooth, rounded, self._graph.constants)
        before, after = GraphIndex(smooth), GraphIndex(rounded)
        self._weights = nn.ModuleDict()
        self._biases = nn.ParameterDict()
        self._bias_steps: dict[str, float] = {}
        self._corrections: dict[str, Tensor] = {}
        self._keys: dict[str, str] = {}
        for number, conv in enumerate(self._convolutions):
            key = str(number)
            bias = _array(after, conv.bias)
            step = float(np.abs(bias).mean() + 1e-6) / FULL_LEVELS
            self._weights[key] = RoundedWeight(
                _array(before, conv.smooth_weight), _array(after, conv.weight), levels=levels
            )
            self._biases[key] = nn.Parameter(torch.from_numpy(bias / np.float32(step)))
            own = _array(before, conv.smooth_bias) if conv.smooth_bias else np.zeros_like(bias)
            self._corrections[key] = torch.from_numpy(bias - own)
            self._bias_steps[conv.bias] = step
            self._keys[conv.weight] = self._keys[conv.bias] = key
        self._by_output = {conv.output: conv for conv in self._convolutions}
        gates = {node.output[0] for node in rounded.graph.node if node.op_type == "HardSigmoid"}
        found = [name for name in rounded_names(rounded) if name in ranges or name in gates]
        parts = [
            RoundedActivation(*GATE_RANGE, learnt=False) if name in gates else RoundedActivation(*ranges[name])
            for name in found
        ]
        self._activations = nn.ModuleDict({str(at): part for at, part in enumerate(parts)})
        self._rounded = {name: str(at) for at, name in enumerate(found)}

    def forward(self, frame: Tensor, keep: Collection[str] = (), detach: bool = False) -> dict[str, Tensor]:
        """Compute the output, and tensors by name.

        Args:
            frame: ``(1, H, W, 3)`` uint8.
            keep: Names of tensors to return.
            detach: Whether no gradient flows back through the tensors in ``keep``: each block is then trained alone.

        Returns:
            The tensors in ``keep``, and the output under the empty name.
        """
        kept: dict[str, Tensor] = {}

        units: dict[str, Tensor] = {}

        def change(name: str, value: Tensor) -> Tensor | None:
            if name in self._bias_steps:
                return self._bias(name) if self._arithmetic == "float32" else None
            if name in self._keys:
                part = self._weights[self._keys[name]]
                if self._arithmetic == "float32":
                    return part()
                whole, units[name] = part.integers()
                return whole
            if self._arithmetic == "bfloat16":
                value = self._in_float32(name, value, units)
            if name in self._rounded:
                value = self._activations[self._rounded[name]](value)
            if name in keep:
                kept[name] = value
                value = value.detach() if detach else value
            return value

        with torch.autocast(frame.device.type, torch.bfloat16, enabled=self._arithmetic == "bfloat16"):
            kept[""] = self._graph.compute({FRAME: frame}, change)[0]
        return kept

    def _bias(self, name: str) -> Tensor:
        return self._biases[self._keys[name]] * self._bias_steps[name]

    def _in_float32(self, name: str, value: Tensor, units: Mapping[str, Tensor]) -> Tensor:
        """What a node gives, of whose products bfloat16 is the type; a trained convolution gets its unit and bias.

        Eight bits hold the integers of weights exactly, not the weights, and no bias that 32 bits have in the int8
        graph.
        """
        value = value.float() if value.is_floating_point() else value
        conv = self._by_output.get(name)
        if conv is None:
            return value
        ends = (-1, *[1] * (value.ndim - 2))
        return torch.addcmul(self._bias(conv.bias).reshape(ends), value, units[conv.weight].reshape(ends))

    def parameter_groups(self, rate: float, range_rate: float) -> list[dict[str, Any]]:
        """Parameters with the learning rate of each: ``rate`` in int8 steps, ``range_rate`` as a share of a scale."""
        learnt = [part for part in self._activations.values() if part.scale.requires_grad]
        scales = [{"params": [part.scale], "rate": range_rate * part.step} for part in learnt]
        zeros = [part.zero for part in self._activations.values() if part.zero.requires_grad]
        return [{"params": [*self._weights.parameters(), *self._biases.values(), *zeros], "rate": rate}, *scales]

    def ranges(self) -> Ranges:
        """The range of every activation whose range was learnt."""
        parts = {name: self._activations[key] for name, key in self._rounded.items()}
        return {name: part.range for name, part in parts.items() if part.scale.requires_grad}

    def write(self, model: onnx.ModelProto, *, on_grid: bool) -> onnx.ModelProto:
        """A graph with the same convolutions, with the trained weights and biases.

        Args:
            model: The graph; not changed.
            on_grid: Whether weights are written as they are rounded. Biases are then corrected for the rounding, as
                they were trained; else that correction is taken out: who rounds the weights next makes his own.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        nodes = {node.name: node for node in copy.graph.node}
        with torch.no_grad():
            for conv in self._convolutions:
                part, node = self._weights[self._keys[conv.weight]], nodes[conv.node]
                weight = part() if on_grid else part.smooth
                bias = self._bias(conv.bias)
                bias = bias if on_grid else bias - self._corrections[self._keys[conv.weight]].to(bias)
                kind = "8" if on_grid else "_trained"
                del node.input[1:]
                node.input.append(set_initializer(copy.graph, f"{node.output[0]}.weight{kind}", weight.cpu().numpy()))
                node.input.append(set_initializer(copy.graph, f"{node.output[0]}.bias{kind}", bias.cpu().numpy()))
        prune(copy)
        return copy


class Teacher(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """The float graph.

    Args:
        model: The graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self._graph = to_torch(model)

    def forward(self, frame: Tensor, keep: Collection[str] = ()) -> dict[str, Tensor]:
        """As :meth:`Student.forward`."""
        kept: dict[str, Tensor] = {}

        def change(name: str, value: Tensor) -> Tensor:
            if name in keep:
                kept[name] = value
            return value

        with torch.no_grad():
            kept[""] = self._graph.compute({FRAME: frame}, change)[0]
        return kept


def _as_int8_computes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its gates as tensors of their own: int8 graphs round them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    split_hard_swish(copy)
    return onnx.shape_inference.infer_shapes(copy)


def _convolutions(smooth: onnx.ModelProto, rounded: onnx.ModelProto, constants: Collection[str]) -> list[_Convolution]:
    """The convolutions that were rounded."""
    original = {node.name: node for node in smooth.graph.node}
    found = []
    for node in rounded.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or not {*node.input[1:]} <= {*constants}:
            continue
        _, source, *own_bias = original[node.name].input
        if node.input[1] != source:
            found.append(
                _Convolution(
                    node=node.name,
                    output=node.output[0],
                    weight=node.input[1],
                    bias=node.input[2],
                    smooth_weight=source,
                    smooth_bias=own_bias[0] if own_bias else "",
                )
            )
    return found


def _array(index: GraphIndex, name: str) -> NDArray[np.float32]:
    return np.asarray(index.constant(name), np.float32)
