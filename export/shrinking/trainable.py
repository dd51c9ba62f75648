"""A float graph as a torch module whose layers can be trained, and its training by the network that it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vseg.export.finetuning.frame_variants import vary_frame
from edge_vseg.export.finetuning.lesson_loss import lesson_loss
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.onnx_to_torch import to_torch

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
RATE = 0.004
"""Of a step, in standard deviations of a filter."""
WARM_UP = 0.05


class Trainable(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """A graph whose layers are parameters, but for transposed convolutions.

    Each filter is trained in units of its own standard deviation: after batch normalization was folded into them,
    filters differ by orders of magnitude, and one learning rate should suit all.

    Args:
        model: A float graph with the input ``frame`` and scores ``(1, C, h, w)``.
        fixed: Names of constants that do not learn.

    Raises:
        UnsupportedOperatorError: If the importer does not know an operator.
    """

    def __init__(self, model: onnx.ModelProto, fixed: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._graph = to_torch(model)
        self._trained = self._graph.constants - fixed
        self._parameters_of: dict[str, tuple[str, NDArray[np.float32]]] = {}
        self._values = nn.ParameterDict()
        index = GraphIndex(model)
        for node in model.graph.node:
            if node.op_type in LAYERS:
                self._take(node, index)

    def _take(self, node: onnx.NodeProto, index: GraphIndex) -> None:
        weight = index.constant(node.input[1])
        if weight is None or node.input[1] not in self._trained or node.input[1] in self._parameters_of:
            return
        axis = output_axis(node, weight)
        others = tuple(at for at in range(weight.ndim) if at != axis)
        spread = np.sqrt(np.square(weight, dtype=np.float64).mean(others, keepdims=True))
        self._add(node.input[1], weight, np.maximum(spread, 1e-3 * spread.max() + 1e-12))
        if len(node.input) > 2 and node.input[2] in self._trained:
            bias = index.constant(node.input[2])
            if bias is not None and node.input[2] not in self._parameters_of:
                fan_in = weight.size / weight.shape[axis]
                unit = np.maximum(spread, 1e-3 * spread.max() + 1e-12).reshape(-1) * math.sqrt(fan_in)
                fits = bias.size == unit.size  # a bias may be broadcast
                self._add(node.input[2], bias, unit.reshape(bias.shape) if fits else np.full(bias.shape, unit.mean()))

    def _add(self, name: str, value: NDArray[Any], unit: NDArray[np.float64]) -> None:
        key = str(len(self._parameters_of))
        scale = unit.astype(np.float32)
        self._parameters_of[name] = (key, scale)
        self._values[key] = nn.Parameter(torch.from_numpy(np.asarray(value / scale, np.float32)))
        self.register_buffer(f"unit{key}", torch.from_numpy(scale))

    def forward(self, frame: Tensor, see: Callable[[str, Tensor], Tensor] = lambda name, value: value) -> Tensor:
        """Scores ``(1, C, h, w)`` of a frame ``(1, H, W, 3)`` uint8.

        Args:
            frame: The frame.
            see: May look at every tensor, by name, and replace it.
        """

        def change(name: str, value: Tensor) -> Tensor:
            if name in self._parameters_of:
                key, _ = self._parameters_of[name]
                return self._values[key] * getattr(self, f"unit{key}")
            return see(name, value)

        scores: Tensor = self._graph.compute({FRAME: frame}, change)[0]
        return scores

    def write(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A graph with constants of the same names, with the trained values."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for tensor in copy.graph.initializer:
            if tensor.name in self._parameters_of:
                key, scale = self._parameters_of[tensor.name]
                value = self._values[key].detach().cpu().numpy() * scale
                tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
        return copy


def output_axis(node: onnx.NodeProto, weight: NDArray[Any]) -> int:
    """Axis of a layer's weight along which its output channels lie."""
    match node.op_type:
        case "MatMul":
            return weight.ndim - 1
        case "Gemm":
            return 0 if attribute(node, "transB", 0) else 1
        case "ConvTranspose" if attribute(node, "group", 1) == 1:
            return 1
        case _:
            return 0


def teach(
    student: Trainable,
    teacher: Trainable,
    frames: Sequence[TrainingFrame],
    steps: int,
    *,
    seed: int,
    rate: float = RATE,
    align: str = "half_pixel",
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Train a network on frames by what another gives for them.

    Args:
        student: Is trained in place.
        teacher: Gives the targets.
        frames: What to train on; the truth is learnt as well where there is one.
        steps: Number of steps, each on one frame.
        seed: Of the choice and the variants of frames.
        rate: Learning rate at the start, in standard deviations of a filter.
        align: Sampling grid of the network's own upsampling, by which scores are compared with the truth.
        progress: Called after each step with its number and loss.

    Returns:
        Mean loss of the last quarter.
    """
    optimizer = torch.optim.Adam(student.parameters(), rate, betas=(0.9, 0.99))
    losses: list[float] = []
    for step in range(steps):
        share = step / steps
        factor = min(1.0, (share + 1 / steps) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        rng = np.random.default_rng((seed, step))
        loss = _loss(student, teacher, frames[int(rng.integers(len(frames)))], rng, align)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        progress(step + 1, losses[-1])
    return float(np.mean(losses[-max(1, steps // 4) :])) if losses else 0.0


def _loss(student: Trainable, teacher: Trainable, frame: TrainingFrame, rng: np.random.Generator, align: str) -> Tensor:
    varied = vary_frame(frame, rng)
    image = torch.from_numpy(varied.image[None])
    found = student(image)
    with torch.no_grad():
        target = teacher(image)
    return lesson_loss(found, target, varied.labels, align)
