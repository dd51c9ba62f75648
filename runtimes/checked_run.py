"""What a graph gives is checked where it enters: nothing of a run that went wrong reaches a map or a later frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.errors import EdgeVsegError, SessionError
from edge_vseg.runtimes.port import Session
from edge_vseg.types import Tensor


def run_checked(session: Session, inputs: Mapping[str, Tensor], outputs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    """Run a graph; its outputs are those that the manifest declares, and finite.

    A value that is not finite would spread through every later map. It is looked for behind each slice, too, for the
    slices behind may hide it: no comparison holds for NaN, and rounding to int8 makes it a number.

    Args:
        session: The graph.
        inputs: Its inputs by name.
        outputs: What it has to give.

    Returns:
        Those outputs by name.

    Raises:
        SessionError: If the runtime fails in any way, an output is missing or of another shape or dtype, or a value is
            not finite.
    """
    try:
        given = session.run(inputs)
    except EdgeVsegError:
        raise
    except Exception as exc:  # of a third party's runtime, which may raise anything
        raise SessionError(
            f"the runtime failed with {type(exc).__name__}: {exc}; the frame has no map. Open the bundle again, or try"
            " another runtime"
        ) from exc
    return {spec.name: _checked(spec, given) for spec in outputs}


def _checked(spec: TensorSpec, given: Mapping[str, Tensor]) -> Tensor:
    tensor = given.get(spec.name)
    if not isinstance(tensor, np.ndarray):
        what = f"gave {type(tensor).__name__}" if spec.name in given else f"gave only {', '.join(given) or 'nothing'}"
        raise SessionError(_refusal(spec, what))
    if tensor.shape != spec.shape or tensor.dtype != spec.dtype:
        raise SessionError(_refusal(spec, f"gave {tensor.shape} {tensor.dtype}"))
    if tensor.dtype.kind == "f":
        _check_finite(tensor, spec.name)
    return tensor


def _refusal(spec: TensorSpec, what: str) -> str:
    return (
        f"expected output {spec.name!r} {spec.shape} {spec.dtype}, and the runtime {what}; the frame has no map. Check"
        " the bundle (edge-vseg verify)"
    )


def _check_finite(values: Tensor, name: str) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    count = values.size - int(np.count_nonzero(finite))
    raise SessionError(
        f"the network gave {count} of {values.size} values of {name!r} that are not finite; the frame has no map, and"
        " nothing of it is kept. Check the camera's image and the bundle (edge-vseg verify)"
    )
