"""The int8 network as a torch module that can be trained: rounded in the forward pass, smooth in the backward pass.

Weights and biases are trained in units of the int8 step with which they start, so that one learning rate suits all
layers. Weights are rounded per channel to the grid that quantizers find for 8 bits, ``max |w| / 127``; the steps
and zero points of activations are learnt.

References: Esser et al., Learned Step Size Quantization, 2020; Bhalgat et al., LSQ+, 2020 (zero points).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vseg.export.graph.index import GraphIndex, prune, set_initializer
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.onnx_to_torch import to_torch
from edge_vseg.export.quantization.activations import rounded_names
from edge_vseg.export.quantization.integer_operators import split_hard_swish
from edge_vseg.export.quantization.sensitivity import Ranges

LEVELS = 127
GATE_RANGE = (0.0, 1.0)
"""Of what a HardSigmoid gives, in an int8 graph."""
KEEP_ROUNDING = 0.49
"""Steps that a weight may start away from its integer: training starts with the static recipe's integers."""


class RoundedWeight(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """The weight of a convolution, trained in steps of its output channel.

    Args:
        weight: ``(O, ...)`` before rounding.
        rounded: The same on the int8 grid.
    """

    def __init__(self, weight: NDArray[np.float32], rounded: NDArray[np.float32]) -> None:
        super().__init__()
        largest = np.abs(rounded).reshape(len(rounded), -1).max(1)
        step = np.where(largest > 0, largest, 1.0).reshape(-1, *[1] * (weight.ndim - 1)) / LEVELS
        integers = np.round(rounded / step)
        start = np.clip(weight / step, integers - KEEP_ROUNDING, integers + KEEP_ROUNDING)
        # The largest weight of a channel gives the step, so it starts where it is.
        start = np.where(np.abs(integers) == LEVELS, integers, start)
        self.steps = nn.Parameter(torch.from_numpy(start.astype(np.float32)))
        self.register_buffer("step", torch.from_numpy(step.astype(np.float32)))

    def forward(self) -> Tensor:
        """The weight on the grid of its present largest values."""
        scale = torch.linalg.vector_norm(self.steps.detach().flatten(1), torch.inf, 1).clamp(min=1e-6) / LEVELS
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(self.steps, scale, zeros, 0, -LEVELS, LEVELS) * self.step

    @property
    def smooth(self) -> Tensor:
        """The weight before rounding."""
        return self.steps * self.step


class _Round(torch.autograd.Function):  # type: ignore[misc]  # torch is outside the type check
    """Rounding to 8 bits with the gradients of LSQ+, in as few passes over the tensor as they take."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """Round."""
        integer = min(max(round(zero.item()), 0), 255)
        rounded, inside = torch.ops.aten.fake_quantize_per_tensor_affine_cachemask(x, scale.item(), integer, 0, 255)
        ctx.save_for_backward(x, rounded, inside, scale)
        return rounded

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inside the range as if nothing was rounded; outside, a clipped value follows the end of the range."""
        x, rounded, inside, scale = ctx.saved_tensors
        passed = grad * inside
        of_scale = (_dot(grad, rounded) - _dot(passed, x)) / scale
        of_zero = (passed.sum() - grad.sum()) * scale
        factor = (x.numel() * 255) ** -0.5
        return passed, (factor * of_scale).reshape(scale.shape), (factor * of_zero).reshape(scale.shape)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products of two tensors, without a tensor of the products where both are dense and laid out alike."""
    if a.stride() == b.stride() and all(_is_dense(each) for each in (a, b)):
        return torch.dot(a.as_strided((a.numel(),), (1,)), b.as_strided((b.numel(),), (1,)))
    return (a * b).sum()


def _is_dense(x: Tensor) -> bool:
    return bool(x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)))


class RoundedActivation(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """An activation rounded to 8 bits in a range that is learnt.

    Args:
        low: Lowest value at the start, at most 0.
        high: Highest value at the start, at least 0.
        learnt: Whether the range may change.

    Attributes:
        step: Value between two integers at the start, the unit in which the scale is trained.
    """

    def __init__(self, low: float, high: float, *, learnt: bool = True) -> None:
        super().__init__()
        self.step = max((high - low) / 255, 1e-12)
        self.scale = nn.Parameter(torch.tensor(self.step), requires_grad=learnt)
        self.zero = nn.Parameter(torch.tensor(-low / self.step), requires_grad=learnt and low < 0)

    def forward(self, x: Tensor) -> Tensor:
        """Round ``x``."""
        rounded: Tensor = _Round.apply(x, self.scale.abs(), self.zero)
        return rounded

    @property
    def range(self) -> tuple[float, float]:
        """The learnt range, zero included."""
        step = abs(self.scale.item())
        zero = min(max(round(self.zero.item()), 0), 255)
        return -zero * step, (255 - zero) * step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Convolution:
    """A convolution that is trained: its node's name, its constants, and those in the float graph."""

    node: str
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

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
    """

    def __init__(self, smooth: onnx.ModelProto, rounded: onnx.ModelProto, ranges: Ranges) -> None:
        super().__init__()
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
            step = float(np.abs(bias).mean() + 1e-6) / LEVELS
            self._weights[key] = RoundedWeight(_array(before, conv.smooth_weight), _array(after, conv.weight))
            self._biases[key] = nn.Parameter(torch.from_numpy(bias / np.float32(step)))
            own = _array(before, conv.smooth_bias) if conv.smooth_bias else np.zeros_like(bias)
            self._corrections[key] = torch.from_numpy(bias - own)
            self._bias_steps[conv.bias] = step
            self._keys[conv.weight] = self._keys[conv.bias] = key
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

        def change(name: str, value: Tensor) -> Tensor:
            if name in self._bias_steps:
                return self._biases[self._keys[name]] * self._bias_steps[name]
            if name in self._keys:
                return self._weights[self._keys[name]]()
            if name in self._rounded:
                value = self._activations[self._rounded[name]](value)
            if name in keep:
                kept[name] = value
                value = value.detach() if detach else value
            return value

        kept[""] = self._graph.compute({FRAME: frame}, change)[0]
        return kept

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
                bias = self._biases[self._keys[conv.bias]] * self._bias_steps[conv.bias]
                bias = bias if on_grid else bias - self._corrections[self._keys[conv.weight]]
                kind = "8" if on_grid else "_trained"
                del node.input[1:]
                node.input.append(set_initializer(copy.graph, f"{node.output[0]}.weight{kind}", weight.numpy()))
                node.input.append(set_initializer(copy.graph, f"{node.output[0]}.bias{kind}", bias.numpy()))
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
                    weight=node.input[1],
                    bias=node.input[2],
                    smooth_weight=source,
                    smooth_bias=own_bias[0] if own_bias else "",
                )
            )
    return found


def _array(index: GraphIndex, name: str) -> NDArray[np.float32]:
    return np.asarray(index.constant(name), np.float32)
