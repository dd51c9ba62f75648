"""Where torch trains, and in which numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from edge_vseg.errors import OptionError

Arithmetic = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHardware:
    """What a training runs on, which its result depends on.

    Attributes:
        device: Torch device, such as ``cpu`` or ``cuda:1``.
        arithmetic: Of products, where the training allows less than float32.
    """

    device: str = "cpu"
    arithmetic: Arithmetic = "float32"

    @classmethod
    def of(cls, device: str) -> TrainingHardware:
        """The hardware of a device, with bfloat16 where it is not emulated.

        Args:
            device: ``auto`` for a GPU that torch's CUDA has, or else the CPU; or a torch device.

        Raises:
            OptionError: If it cannot be used here.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as exc:
            raise OptionError(f"device {device!r} cannot be used here: {str(exc).splitlines()[0]}; give cpu") from exc
        return cls(device=device, arithmetic="bfloat16" if has_bfloat16(device) else "float32")

    @property
    def key(self) -> tuple[str, str]:
        """What the result depends on, for a fingerprint: not which of several GPUs it is."""
        return torch.device(self.device).type, self.arithmetic


def has_bfloat16(device: str) -> bool:
    """Whether the hardware of a torch device has bfloat16; emulated on a CPU, a step takes nine times as long."""
    match torch.device(device).type:
        case "cpu":
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case _:
            return True


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """On a GPU: kernels that give the same every time where torch has them, and products in float32 not shortened.

    What has none is computed all the same, and torch warns of it.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
