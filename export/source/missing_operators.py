"""Write operators that torch.onnx has no form for as others that it has, while a network is traced."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class WithoutMissingOperators(TorchFunctionMode):  # type: ignore[misc]  # torch is outside the type check
    """While it is active, what is in its table is computed by other operators, with the same values."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call what stands for the function, or the function itself."""
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def missing_operator(exc: BaseException) -> tuple[str, torch.fx.Node | None] | None:
    """The operator that torch.onnx has no form for, such as ``aten.svd``, and its node in the traced network.

    Args:
        exc: What ``torch.onnx.export`` raised.

    Returns:
        ``None`` if that is not what went wrong.
    """
    while exc.__cause__ is not None:
        exc = exc.__cause__
    if type(exc).__name__ != "DispatchError":
        return None
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        node = frame.f_locals.get("node")  # torch's message does not say whose operator it is
        if isinstance(node, torch.fx.Node):
            return str(node.target).removesuffix(".default"), node
    return str(exc), None


def _adaptive_max_pool(x: Tensor, output_size: int | Sequence[int | None], *_: object, **__: object) -> Tensor:
    sizes = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
    before = tuple(x.shape[-2:])
    wanted = tuple(n if n is not None else length for n, length in zip(sizes, before, strict=True))
    if all(length % n == 0 for n, length in zip(wanted, before, strict=True)):
        return F.max_pool2d(x, tuple(length // n for n, length in zip(wanted, before, strict=True)))
    for axis, n in zip((-2, -1), wanted, strict=True):
        length = x.shape[axis]
        starts = [i * length // n for i in range(n)]
        ends = [-(-(i + 1) * length // n) for i in range(n)]
        parts = [x.narrow(axis, at, end - at).amax(axis, keepdim=True) for at, end in zip(starts, ends, strict=True)]
        x = torch.cat(parts, axis)
    return x


def _adaptive_max_pool_and_indices(x: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    return _adaptive_max_pool(x, *args, **kwargs), None  # a network that reads where the largest stood fails as before


_INSTEAD: dict[Any, Callable[..., Any]] = {
    F.adaptive_max_pool2d: _adaptive_max_pool,
    F.adaptive_max_pool2d_with_indices: _adaptive_max_pool_and_indices,
    torch._C._nn.adaptive_max_pool2d: _adaptive_max_pool_and_indices,
}
