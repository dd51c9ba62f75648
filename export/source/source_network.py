"""Open the trained network, whatever it comes as, as a checked ONNX graph and a way to run the original."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.errors import ModelFileError, OptionError
from edge_vseg.export.error_text import last_line
from edge_vseg.export.graph.interface import choose_size, find_image_input, keep_output
from edge_vseg.export.graph.onnx_file import check_onnx, read_onnx
from edge_vseg.export.quantization.activations import open_float
from edge_vseg.export.source.output_choice import ChosenOutput, Output, choose_output
from edge_vseg.types import Size

log = logging.getLogger(__name__)
READY_MADE = (".tflite", ".xml")


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceNetwork:
    """The trained network; its graph is made when it is first asked for.

    Attributes:
        name: For the manifest: a file name or ``module:factory``.
        kind: What it came as.
        fingerprint: Changes with the network; quick to find, where :attr:`sha256` needs the graph.
        size_hw: Input size; ``None`` for the graph's own.
        load_graph: Gives the graph at an input size.
        run: Computes the original's output from one normalized input in its own layout.
        output: Name of that output, if it is one of several; else empty.
        notes: What whoever exports it should know.
        run_stages: Computes the outputs of its own stages that may be carried over; ``None`` if it names none.
    """

    name: str
    kind: Literal["torch", "onnx"]
    fingerprint: str
    size_hw: Size | None
    load_graph: Callable[[Size | None], onnx.ModelProto]
    run: Callable[[NDArray[np.float32]], NDArray[np.generic]]
    output: str = ""
    notes: tuple[str, ...] = ()
    run_stages: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]] | None = None

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The graph as trained: float input, any opset from 7. A torch module is traced for it."""
        return self.load_graph(self.size_hw)

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, or of the ONNX graph that a torch module becomes."""
        return self.fingerprint if self.kind == "onnx" else _graph_sha256(self.model)

    def at_size(self, size_hw: Size) -> SourceNetwork:
        """The same network at another input size.

        A torch module is traced again: tracing writes the sizes of all features into the graph.
        """
        return self if self.kind == "onnx" else replace(self, size_hw=size_hw)


def is_ready_made(source: str) -> bool:
    """Whether the source is a file for one runtime, to be wrapped as it is."""
    return Path(source).suffix.lower() in READY_MADE


def open_source_network(
    source: str, *, weights: Path | None, size_hw: Size | None, output_name: str = "", classes: int | None = None
) -> SourceNetwork:
    """Open ``package.module:factory``, ``file.py:factory`` or a ``.onnx`` file.

    Args:
        source: What to open.
        weights: A ``.safetensors`` file or a state dict for a torch module.
        size_hw: Input size, needed for a torch module.
        output_name: The output to take of several; empty for the one that looks most like scores.
        classes: Number of classes, if it is known, to tell scores by.

    Raises:
        SourceError: One of its kinds, if the network cannot be used.
        OptionError: If an option is missing or does not apply.
    """
    if source.lower().endswith(".onnx"):
        if weights is not None:
            raise OptionError(f"--weights does not apply to {source}: an ONNX file holds its weights")
        network = _open_onnx(Path(source), size_hw, output_name, classes)
    elif ":" in source:
        if size_hw is None:
            raise OptionError(f"{source} is a torch module; give the size to export it at with --input-size HxW")
        network = _open_torch(source, weights, size_hw, output_name, classes)
    else:
        raise ModelFileError(
            f"{source}: expected package.module:factory, a .onnx, a .tflite or an OpenVINO .xml; got none of them"
        )
    for note in network.notes:
        log.warning("%s: %s", network.name, note)
    return network


def _open_torch(
    source: str, weights: Path | None, size_hw: Size, output_name: str, classes: int | None
) -> SourceNetwork:
    from edge_vseg.export.source.torch_module import open_torch

    opened = open_torch(source, weights, output_name, classes)
    chosen = opened.try_out(size_hw)

    def trace(size_hw: Size | None) -> onnx.ModelProto:
        assert size_hw is not None
        return check_onnx(opened.trace(size_hw), where=source)

    return SourceNetwork(
        name=source,
        kind="torch",
        fingerprint=opened.fingerprint,
        size_hw=size_hw,
        load_graph=trace,
        run=opened.run,
        output=chosen.name,
        notes=(chosen.note,) if chosen.note else (),
        run_stages=opened.run_stages,
    )


def _open_onnx(path: Path, size_hw: Size | None, output_name: str, classes: int | None) -> SourceNetwork:
    read = read_onnx(path)
    try:
        open_float(read.model)
    except Exception as exc:  # ONNX Runtime raises kinds of its own, all under Exception
        raise ModelFileError(f"model {path} is damaged: ONNX Runtime cannot load it: {last_line(exc)}") from exc
    chosen = _choose_onnx_output(read.model, path, size_hw, output_name, classes)
    model = keep_output(read.model, chosen.name) if chosen is not None else read.model
    return SourceNetwork(
        name=path.name,
        kind="onnx",
        fingerprint=read.sha256,
        size_hw=None,
        load_graph=lambda size_hw: model,
        run=lambda value: _run_onnx(model, path, value)[0],
        output=chosen.name if chosen is not None else "",
        notes=(chosen.note,) if chosen is not None and chosen.note else (),
    )


def _choose_onnx_output(
    model: onnx.ModelProto, path: Path, size_hw: Size | None, wanted: str, classes: int | None
) -> ChosenOutput | None:
    """The output to take, ``None`` if there is only one and nobody asked. Runs the network to see the shapes."""
    names = [output.name for output in model.graph.output]
    if len(names) == 1 and not wanted:
        return None
    image = find_image_input(model)
    size = choose_size(image, size_hw)
    black = np.zeros(image.shape(size), onnx.helper.tensor_dtype_to_np_dtype(image.dtype))
    shapes = [np.shape(value) for value in _run_onnx(model, path, black)]
    outputs = [Output(name=name, shape=shape) for name, shape in zip(names, shapes, strict=True)]
    return choose_output(outputs, wanted, classes, size)


def _run_onnx(model: onnx.ModelProto, path: Path, value: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    session = open_float(model)
    try:
        outputs: list[NDArray[np.generic]] = session.run(None, {session.get_inputs()[0].name: value})
    except Exception as exc:  # ONNX Runtime raises kinds of its own, all under Exception
        raise ModelFileError(
            f"model {path} cannot be run: {last_line(exc)}; it may be damaged, or need another --input-size"
        ) from exc
    return outputs


def _graph_sha256(model: onnx.ModelProto) -> str:
    """Hash of a graph without the notes that torch leaves in it: where source files lie, and on which line."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for part in (bare, bare.graph, *bare.graph.node, *bare.graph.value_info, *bare.graph.input, *bare.graph.output,
                 *bare.graph.initializer):  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    bare.producer_version = ""
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
