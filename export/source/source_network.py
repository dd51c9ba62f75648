"""Open the trained network, whatever it comes as, as a checked ONNX graph and a way to run the original."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.errors import ModelFileError, OptionError
from edge_vseg.export.graph.onnx_file import check_onnx, read_model_bytes, read_onnx
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.types import Size

READY_MADE = (".tflite", ".xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNetwork:
    """The trained network.

    Attributes:
        name: For the manifest: a file name or ``module:factory``.
        kind: What it came as.
        sha256: Hash of the file, or of the ONNX graph made from a torch module.
        model: The graph, as trained: float input, any opset from 7.
        run: Computes the original's first output from one normalised input in its own layout.
        run_stages: The same for the outputs of its own stages that may be old; ``None`` if it names none.
    """

    name: str
    kind: Literal["torch", "onnx"]
    sha256: str
    model: onnx.ModelProto
    run: Callable[[NDArray[np.float32]], NDArray[np.generic]]
    run_stages: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]] | None = None


def is_ready_made(source: str) -> bool:
    """Whether the source is a file for one runtime, to be wrapped as it is."""
    return Path(source).suffix.lower() in READY_MADE


def open_source_network(source: str, *, weights: Path | None, size_hw: Size | None) -> SourceNetwork:
    """Open ``package.module:factory``, ``file.py:factory`` or a ``.onnx`` file.

    Args:
        source: What to open.
        weights: A ``.safetensors`` file or a state dict for a torch module.
        size_hw: Input size, needed for a torch module.

    Raises:
        SourceError: One of its kinds, if the network cannot be used.
        OptionError: If an option is missing or does not apply.
    """
    if source.lower().endswith(".onnx"):
        if weights is not None:
            raise OptionError(f"--weights does not apply to {source}: an ONNX file holds its weights")
        return _open_onnx(Path(source))
    if ":" in source:
        from edge_vseg.export.source.torch_module import open_torch

        if size_hw is None:
            raise OptionError(f"{source} is a torch module; give the size to export it at with --input-size HxW")
        opened = open_torch(source, weights, size_hw)
        checked = check_onnx(opened.model, where=source)
        digest = hashlib.sha256(checked.SerializeToString(deterministic=True)).hexdigest()
        return SourceNetwork(
            name=source, kind="torch", sha256=digest, model=checked, run=opened.run, run_stages=opened.run_stages
        )
    raise ModelFileError(
        f"{source}: expected package.module:factory, a .onnx, a .tflite or an OpenVINO .xml; got none of them"
    )


def _open_onnx(path: Path) -> SourceNetwork:
    model = read_onnx(path)
    digest = hashlib.sha256(read_model_bytes(path)).hexdigest()

    try:
        open_float(model)
    except Exception as exc:  # ONNX Runtime raises kinds of its own, all under Exception
        raise ModelFileError(f"model {path} is damaged: ONNX Runtime cannot load it: {_last_line(exc)}") from exc

    def run(value: NDArray[np.float32]) -> NDArray[np.generic]:
        session = open_float(model)
        try:
            result: NDArray[np.generic] = session.run(None, {session.get_inputs()[0].name: value})[0]
        except Exception as exc:  # as above
            raise ModelFileError(
                f"model {path} cannot be run: {_last_line(exc)}; it may be damaged, or need another --input-size"
            ) from exc
        return result

    return SourceNetwork(name=path.name, kind="onnx", sha256=digest, model=model, run=run)


def _last_line(exc: Exception) -> str:
    lines = str(exc).strip().splitlines()
    return lines[-1] if lines else type(exc).__name__
