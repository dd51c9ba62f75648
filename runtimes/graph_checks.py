"""Check a graph and its inputs against the manifest, with the same messages for every runtime."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle.manifest import Quantization, TensorSpec
from edge_vseg.errors import BackendError, EdgeVsegError, SessionError
from edge_vseg.runtimes.port import GraphSpec
from edge_vseg.types import Tensor

# A prefix such as "/src/core/session.cc:12 void ns::Load(const Options&) ".
_SOURCE_LOCATION = re.compile(r"/\S+\.(?:cc|cpp|h):\d+ [^)]*\)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTensor:
    """An input or output of a graph file.

    Attributes:
        names: All its names in the file; messages show the first.
        shape: Its dimensions; ``None`` for a dynamic one.
        dtype: numpy's name of its element type, or the backend's where numpy has none.
        quantization: Scale and zero point; ``None`` if the file has none.
    """

    names: tuple[str, ...]
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    def __str__(self) -> str:
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.names[0] if self.names else 'unnamed'!r} ({dims}) {self.dtype}"


def check_file(path: Path, *suffixes: str) -> None:
    """Check that a graph file exists and is not empty.

    Args:
        path: The file.
        suffixes: Those of its formats; a runtime may take another one for a format that reads further files.

    Raises:
        SessionError: If it is missing or empty, or has another suffix.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise SessionError(f"{path} is no graph: expected a {' or '.join(suffixes)} file; export the bundle again")
    if not path.is_file():
        raise SessionError(f"there is no graph at {path}; check the bundle with `edge-vseg verify`")
    if path.stat().st_size == 0:
        raise SessionError(f"{path} is empty; export the bundle again")


def utf8_path(path: Path) -> str:
    """The path as bindings take it that read text as UTF-8.

    Raises:
        SessionError: If it is not: in a locale without UTF-8 Python keeps bytes of names that it cannot read.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise SessionError(
            f"the name {text!a} is no UTF-8 for this process, and the runtime opens no other; set PYTHONUTF8=1 or"
            " LC_ALL=C.UTF-8, or rename the folder"
        ) from exc
    return text


def check_graph(
    path: Path, spec: GraphSpec, inputs: Sequence[FoundTensor], outputs: Sequence[FoundTensor]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Find the spec's inputs and outputs in a graph.

    The graph may have outputs that the spec does not name, but no such inputs.

    Returns:
        The positions of the spec's inputs, and those of its outputs.

    Raises:
        SessionError: If one is missing or differs in shape, dtype or quantization, or the graph has further inputs; the
            message lists every difference.
    """
    problems: list[str] = []
    positions = (
        tuple(_find("input", tensor, inputs, problems) for tensor in spec.inputs),
        tuple(_find("output", tensor, outputs, problems) for tensor in spec.outputs),
    )
    if len(inputs) > len(spec.inputs):
        expected = "one" if len(spec.inputs) == 1 else str(len(spec.inputs))
        problems.append(f"it takes {len(inputs)} inputs where {expected} can be fed: {_listing(inputs)}")
    if problems:
        raise SessionError(
            f"{path.name} is not the graph that its manifest describes: {'; '.join(problems)}; export the bundle again"
        )
    return positions


def check_feed(spec: GraphSpec, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Check the caller's inputs, and return them in the order of the spec.

    Raises:
        SessionError: If a name, shape or dtype differs from the spec.
    """
    if len(inputs) != len(spec.inputs) or any(tensor.name not in inputs for tensor in spec.inputs):
        received = ", ".join(map(repr, inputs)) or "nothing"
        expected = ", ".join(repr(tensor.name) for tensor in spec.inputs)
        count = "one input" if len(spec.inputs) == 1 else f"{len(spec.inputs)} inputs"
        raise SessionError(f"the graph takes {count}, {expected}, got {received}; pass the inputs that the spec names")
    feed = [inputs[tensor.name] for tensor in spec.inputs]
    for tensor, array in zip(spec.inputs, feed, strict=True):
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise SessionError(
                f"input {tensor.name!r} expects {tensor.shape} {tensor.dtype}, got {array.shape} {array.dtype};"
                " resize and convert the frame as the manifest says"
            )
    return feed


@contextmanager
def backend_failures(what: str, advice: str, kind: type[BackendError] = SessionError) -> Iterator[None]:
    """Turn whatever a backend raises into one of our errors.

    Args:
        what: What failed, the beginning of the message.
        advice: What to do, its end.
        kind: The error to raise.
    """
    try:
        yield
    except EdgeVsegError:
        raise
    except Exception as exc:  # a damaged graph makes them raise anything: IndexError, MemoryError, OverflowError
        raise kind(f"{what}: {short_reason(exc)}; {advice}") from exc


def short_reason(exc: BaseException) -> str:
    """A backend's exception message on one line, without source locations."""
    lines = [_SOURCE_LOCATION.sub("", line).strip() for line in str(exc).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return " ".join(kept) or type(exc).__name__


def _find(kind: str, spec: TensorSpec, found: Sequence[FoundTensor], problems: list[str]) -> int:
    for position, tensor in enumerate(found):
        if spec.name in tensor.names:
            problems.extend(_differences(kind, spec, tensor))
            return position
    problems.append(f"it has no {kind} {spec.name!r}, its {kind}s are: {_listing(found)}")
    return -1


def _differences(kind: str, spec: TensorSpec, tensor: FoundTensor) -> list[str]:
    same_rank = len(tensor.shape) == len(spec.shape)
    fits = same_rank and all(d is None or d == s for d, s in zip(tensor.shape, spec.shape, strict=True))
    problems = []
    if not fits or tensor.dtype != spec.dtype:
        problems.append(f"the manifest declares {kind} {spec.name!r} {spec.shape} {spec.dtype}, the file has {tensor}")
    if spec.quantization is not None and not _same_quantization(spec.quantization, tensor.quantization):
        problems.append(
            f"the manifest declares {kind} {spec.name!r} with {_quantization(spec.quantization)},"
            f" the file has {_quantization(tensor.quantization)}"
        )
    return problems


def _same_quantization(expected: Quantization, found: Quantization | None) -> bool:
    # Files store the scale as float32, JSON as decimal: 1e-6 is ten float32 steps.
    return (
        found is not None
        and found.zero_point == expected.zero_point
        and math.isclose(found.scale, expected.scale, rel_tol=1e-6)
    )


def _quantization(value: Quantization | None) -> str:
    return f"scale {value.scale:.9g} and zero point {value.zero_point}" if value else "no quantization"


def _listing(tensors: Sequence[FoundTensor]) -> str:
    return ", ".join(map(str, tensors)) or "none"
