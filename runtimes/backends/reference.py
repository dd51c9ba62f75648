"""A runtime in pure numpy, for tests and for machines without another runtime.

A graph is an ``.npz`` file with ``weight (C, 3) float32``, ``bias (C,) float32`` and ``stride () int``.
A class's logit is a linear function of the mean colour of each ``stride`` x ``stride`` block::

    logits[0, c, y, x] = weight[c] @ mean(frame[0, y*stride:(y+1)*stride, x*stride:(x+1)*stride]) + bias[c]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_vseg.errors import OptionError, ProviderError, SessionError
from edge_vseg.runtimes.graph_checks import FoundTensor, check_feed, check_file, check_graph
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.types import Tensor


class ReferenceRuntime:
    """numpy; its only provider is ``cpu``, and it ignores the number of threads."""

    name = "reference"
    extra = ""

    def version(self) -> str:
        """See :meth:`Runtime.version`."""
        return f"numpy {np.__version__}"

    def providers(self) -> tuple[str, ...]:
        """See :meth:`Runtime.providers`."""
        return ("cpu",)

    def open(self, path: Path, spec: GraphSpec, options: SessionOptions) -> ReferenceSession:
        """Open an ``.npz`` file written by :func:`write_reference`.

        Raises: See :meth:`Runtime.open`.
        """
        if options.provider not in ("", "cpu"):
            raise ProviderError(f"runtime 'reference' has no provider {options.provider!r}; it has: cpu")
        if options.provider_options:
            raise OptionError(
                f"runtime 'reference' takes no options, got {', '.join(options.provider_options)}; leave them out"
            )
        check_file(path)
        weight, bias, stride = _read(path)
        # The file has neither a frame size nor tensor names; both come from the spec.
        _, height, width, _ = spec.input.shape if len(spec.input.shape) == 4 else (1, 0, 0, 3)
        if height % stride or width % stride:
            raise SessionError(
                f"{path.name} has stride {stride}, which does not divide {height}x{width}; write it with another stride"
            )
        found_input = FoundTensor(names=(spec.input.name,), shape=(1, height, width, 3), dtype="uint8")
        found_output = FoundTensor(
            names=(spec.output.name,), shape=(1, len(bias), height // stride, width // stride), dtype="float32"
        )
        check_graph(path, spec, [found_input], [found_output])
        return ReferenceSession(weight, bias, stride, spec)


class ReferenceSession:
    """A reference graph in memory."""

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32], stride: int, spec: GraphSpec) -> None:
        self._weight: NDArray[np.float32] | None = weight
        self._bias = bias
        self._stride = stride
        self._spec = spec

    @property
    def provider(self) -> str:
        """See :attr:`Session.provider`."""
        return "cpu"

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See :meth:`Session.run`."""
        if self._weight is None:
            raise SessionError("the session is closed; open the graph again")
        (frame,) = check_feed(self._spec, inputs)
        _, height, width, _ = frame.shape
        side = self._stride
        blocks = frame.reshape(height // side, side, width // side, side, 3)
        colors = blocks.mean(axis=(1, 3), dtype=np.float32)
        logits = colors @ self._weight.T + self._bias
        return {self._spec.output.name: np.ascontiguousarray(logits.transpose(2, 0, 1)[np.newaxis])}

    def close(self) -> None:
        """See :meth:`Session.close`."""
        self._weight = None


def write_reference(path: Path, weight: NDArray[np.float32], bias: NDArray[np.float32], stride: int) -> None:
    """Write a graph for this runtime.

    Args:
        path: The ``.npz`` file to write.
        weight: ``(C, 3)`` float32, one row for each class, columns in the frame's channel order.
        bias: ``(C,)`` float32.
        stride: Side of the blocks, in pixels.

    Raises:
        OptionError: If the arrays do not fit together, hold NaN or infinity, or the stride is below 1.
    """
    problem = _problem(weight, bias, np.asarray(stride))
    if problem:
        raise OptionError(f"cannot write {path.name}: {problem}; correct the array")
    with path.open("wb") as file:
        np.savez(file, weight=weight, bias=bias, stride=np.int64(stride))


def _read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    try:
        # np.load would leave a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            weight, bias, stride = arrays["weight"], arrays["bias"], arrays["stride"]
    except Exception as exc:  # numpy and zipfile raise a dozen kinds for damaged archives
        raise SessionError(f"{path} is not a graph of the reference runtime: {exc}; export the bundle again") from exc
    problem = _problem(weight, bias, stride)
    if problem:
        raise SessionError(f"{path} is not a graph of the reference runtime: {problem}; export the bundle again")
    return weight, bias, int(stride)


def _problem(weight: Tensor, bias: Tensor, stride: Tensor) -> str:
    if weight.dtype != np.float32 or weight.ndim != 2 or weight.shape[1] != 3 or len(weight) == 0:
        return f"weight must be (C, 3) float32, got {weight.shape} {weight.dtype}"
    if bias.dtype != np.float32 or bias.shape != weight.shape[:1]:
        return f"bias must be ({len(weight)},) float32, got {bias.shape} {bias.dtype}"
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        return "weight and bias must be finite"
    if stride.shape != () or stride.dtype.kind not in "iu" or stride < 1:
        return f"stride must be an integer of at least 1, got {stride}"
    return ""
