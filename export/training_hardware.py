"""Where torch trains, and in which numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from edge_vseg.errors import OptionError
from edge_vseg.runtimes.cpu import cpu_features, has_any_flag

log = logging.getLogger(__name__)

Arithmetic = Literal["float32", "bfloat16"]
_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
_FULL = (
    "out of memory",  # "MPS backend out of memory", "CUDA error: out of memory"
    "ALLOC_FAILED",  # of cuBLAS and cuDNN
    "OUT_OF_DEVICE_MEMORY",  # Level Zero, below torch's own allocator on an XPU
)
"""What a RuntimeError says that is no ``torch.OutOfMemoryError`` and yet means a full GPU."""


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
            device: ``auto`` for a GPU that torch's CUDA has and can use, or else the CPU; or a torch device.

        Raises:
            OptionError: If it cannot be used here.
        """
        if device == "auto":
            device = _gpu_or_cpu()
        elif why := _why_not(device):
            raise OptionError(f"device {device!r} cannot be used here: {why}; give cpu")
        return cls(device=device, arithmetic="bfloat16" if has_bfloat16(device) else "float32")

    @property
    def key(self) -> tuple[str, str]:
        """What the result depends on, for a fingerprint: not which of several GPUs it is."""
        return torch.device(self.device).type, self.arithmetic


def _gpu_or_cpu() -> str:
    if not torch.cuda.is_available():
        return "cpu"
    why = _why_not("cuda")
    if why:
        log.warning("training on the CPU, for the GPU cannot be used: %s", why)
    return "cpu" if why else "cuda"


def _why_not(device: str) -> str:
    """Why nothing can be put on a device; empty if it can."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        return (str(exc).splitlines() or [type(exc).__name__])[0]
    return ""


def has_bfloat16(device: str) -> bool:
    """Whether the hardware of a torch device has bfloat16; emulated on a CPU, a step takes nine times as long.

    Torch says of every x86 with AVX-512 that it has; there the kernel's flags decide, too.
    """
    match torch.device(device).type:
        case "cpu":
            on_x86 = cpu_features().architecture == "x86_64"
            supported = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
            return supported and (not on_x86 or has_any_flag(_BFLOAT16_FLAGS))
        case "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case _:
            return True


@contextmanager
def full_memory_named(device: str, advice: str) -> Iterator[None]:
    """Say what to do where a GPU's memory does not suffice.

    Args:
        device: Where the network is trained.
        advice: What to do but to free some.

    Raises:
        OptionError: If it does not.
    """
    try:
        yield
    except RuntimeError as exc:
        if not isinstance(exc, torch.OutOfMemoryError) and not any(each in str(exc) for each in _FULL):
            raise
        raise OptionError(
            f"the GPU's memory does not suffice to train this network on device {device!r}; free some, or {advice}"
        ) from exc


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
