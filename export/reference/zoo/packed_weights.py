"""Weights in 8 bits: half the size of float16, for networks that are too large to be shipped otherwise.

A convolution's weights become integers of -127 to 127 and one float32 step for each output channel. Reading gives
float32 again, so the network is exported and trained like any other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

LEVELS = 127
MIN_VALUES = 4096
"""Smaller tensors stay as they are: they take no room, and the first and last layers are among them."""
_STEP = ".step"


def pack_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with large convolution weights ``(O, I, h, w)`` in int8, each with its steps ``(O, 1, 1, 1)``."""
    packed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if value.ndim != 4 or value.numel() < MIN_VALUES:
            packed[key] = value
            continue
        wide = value.float()
        step = (wide.abs().amax((1, 2, 3), keepdim=True) / LEVELS).clamp(min=1e-12)
        packed[key] = torch.round(wide / step).to(torch.int8).contiguous()
        packed[key + _STEP] = step
    return packed


def unpack_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict that was packed, in float32 where it was; any other as it is."""
    steps = {key.removesuffix(_STEP): value for key, value in state.items() if key.endswith(_STEP)}
    return {
        key: value.float() * steps[key] if key in steps else value
        for key, value in state.items()
        if not key.endswith(_STEP)
    }
