"""Weights and activations that are rounded as in an int8 graph, and can be trained.

Weights are rounded per channel to the grid that quantizers find, ``max |w| / 127`` for 8 bits or ``/ 64`` for 7; the
steps and zero points of activations are learnt.

References: Esser et al., Learned Step Size Quantization, 2020; Bhalgat et al., LSQ+, 2020 (zero points).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vseg.export.quantization.onnxruntime_qdq import FULL_LEVELS

KEEP_ROUNDING = 0.49
"""Steps that a weight may start away from its integer: training starts with the static recipe's integers."""


class RoundedWeight(nn.Module):  # type: ignore[misc]  # torch is outside the type check
    """The weight of a convolution, trained in steps of its output channel.

    Args:
        weight: ``(O, ...)`` before rounding.
        rounded: The same on the int8 grid.
        levels: Largest integer of that grid.
    """

    def __init__(self, weight: NDArray[np.float32], rounded: NDArray[np.float32], *, levels: int = FULL_LEVELS) -> None:
        super().__init__()
        self._levels = levels
        largest = np.abs(rounded).reshape(len(rounded), -1).max(1)
        step = np.where(largest > 0, largest, 1.0).reshape(-1, *[1] * (weight.ndim - 1)) / levels
        integers = np.round(rounded / step)
        start = np.clip(weight / step, integers - KEEP_ROUNDING, integers + KEEP_ROUNDING)
        # The largest weight of a channel gives the step, so it starts where it is.
        start = np.where(np.abs(integers) == levels, integers, start)
        self.steps = nn.Parameter(torch.from_numpy(start.astype(np.float32)))
        self.register_buffer("step", torch.from_numpy(step.astype(np.float32)))

    def forward(self) -> Tensor:
        """The weight on the grid of its present largest values."""
        return self._on_grid(self._scale()) * self.step

    def integers(self) -> tuple[Tensor, Tensor]:
        """The same as whole numbers, ``(O, ...)``, and the value of one in each channel, ``(O,)``."""
        scale = self._scale()
        per_channel = scale.reshape(self.step.shape)
        return self._on_grid(scale) / per_channel, scale * self.step.flatten()

    def _scale(self) -> Tensor:
        largest = torch.linalg.vector_norm(self.steps.detach().flatten(1), torch.inf, 1)
        return largest.clamp(min=1e-6) / self._levels

    def _on_grid(self, scale: Tensor) -> Tensor:
        zeros = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
        return torch.fake_quantize_per_channel_affine(self.steps, scale, zeros, 0, -self._levels, self._levels)

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
