"""Write operators that torch.onnx has no form for, or a wrong one, as others that it has, while a network is traced."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from edge_vseg.export.graph.layer_names import own_path

_DIVISOR = 6
"""The place of ``divisor_override`` among what an average pool is called with."""


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


class DroppedDivisorError(Exception):
    """torch.onnx wrote an average pool without its ``divisor_override``.

    Args:
        operator: The pool.
        node: The pool in the traced network; ``None`` in TorchScript.
    """

    def __init__(self, operator: str, node: torch.fx.Node | None = None) -> None:
        super().__init__(f"{operator} with divisor_override")
        self.node = node


def refuse_dropped_divisors(program: torch.export.ExportedProgram) -> None:
    """Find what torch.onnx leaves out without a word.

    Raises:
        DroppedDivisorError: If the traced network has an average pool with a divisor of its own.
    """
    for node in program.graph.nodes:
        if _name(node) in ("aten.avg_pool2d", "aten.avg_pool3d") and _divisor(node) is not None:
            raise DroppedDivisorError(_name(node), node)


def refuse_divisors_in_script(network: torch.jit.ScriptModule) -> None:
    """Find what torch.onnx's exporter for TorchScript leaves out without a word.

    Raises:
        DroppedDivisorError: If the network has an average pool with a divisor of its own.
    """
    if not _script_has_divisor(network):
        return
    inside = [path for path, part in network.named_modules() if path and _script_has_divisor(part)]
    layer = f" of layer {own_path(inside[-1])!r}" if inside else ""  # the last is inside all that hold it
    raise DroppedDivisorError(f"aten.avg_pool2d{layer}")


def _script_has_divisor(part: torch.nn.Module) -> bool:
    try:
        graph = part.inlined_graph
    except (AttributeError, RuntimeError):  # a part that has nothing to run
        return False
    pools = graph.findAllNodes("aten::avg_pool2d")
    return any(list(pool.inputs())[_DIVISOR].type().kind() != "NoneType" for pool in pools)


def missing_operator(exc: BaseException) -> tuple[str, torch.fx.Node | None] | None:
    """The operator that torch.onnx has no form for, such as ``aten.svd``, and its node in the traced network.

    Args:
        exc: What ``torch.onnx.export`` raised, or :func:`refuse_dropped_divisors`.

    Returns:
        ``None`` if that is not what went wrong.
    """
    while exc.__cause__ is not None:
        exc = exc.__cause__
    if isinstance(exc, DroppedDivisorError):
        return str(exc), exc.node
    if type(exc).__name__ != "DispatchError":
        return None
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        node = frame.f_locals.get("node")  # torch's message does not say whose operator it is
        if isinstance(node, torch.fx.Node):
            return _name(node), node
    return str(exc), None


def _name(node: torch.fx.Node) -> str:
    return str(node.target).removesuffix(".default")


def _divisor(node: torch.fx.Node) -> object:
    return node.kwargs.get("divisor_override", node.args[_DIVISOR] if len(node.args) > _DIVISOR else None)


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


def _average_pool(
    x: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """With a divisor of its own, the mean over padded zeros too, times what makes of it the sum over the divisor."""
    if divisor_override is None:
        return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    kernel, pads = _pair(kernel_size), _pair(padding)
    steps = _pair(stride) if stride else kernel  # of an empty sequence, too
    after = list(pads)
    if ceil_mode:  # the last window may reach beyond the padding, and has fewer pixels there
        for axis, (length, pad) in enumerate(zip(x.shape[-2:], pads, strict=True)):
            windows = -(-(length + 2 * pad - kernel[axis]) // steps[axis])
            if windows * steps[axis] >= length + pad:  # torch has no window that begins in what is behind the image
                windows -= 1
            after[axis] = max(pad, windows * steps[axis] + kernel[axis] - length - pad)
    x = F.pad(x, (pads[1], after[1], pads[0], after[0]))
    return F.avg_pool2d(x, kernel, steps) * (kernel[0] * kernel[1] / divisor_override)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return value[0], value[-1]


_INSTEAD: dict[Any, Callable[..., Any]] = {
    F.adaptive_max_pool2d: _adaptive_max_pool,
    F.adaptive_max_pool2d_with_indices: _adaptive_max_pool_and_indices,
    torch._C._nn.adaptive_max_pool2d: _adaptive_max_pool_and_indices,
    F.avg_pool2d: _average_pool,
    torch.ops.aten.avg_pool2d.default: _average_pool,
}
