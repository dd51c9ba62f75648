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

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import ModelFileError, OptionError
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.graph.onnx_file import check_onnx
from edge_vseg.types import Size

log = logging.getLogger(__name__)
READY_MADE = (".tflite", ".xml")
TRAINED = ".safetensors"
"""Weights of a reference network, which know which one it is and what its classes are."""
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".tar")
_TF2ONNX = "python -m tf2onnx.convert {} {source} --output network.onnx (pip install tf2onnx)"
_PADDLE = (
    "paddle2onnx --model_dir {folder} --model_filename {stem}.pdmodel --params_filename {stem}.pdiparams"
    " --save_file network.onnx (pip install paddle2onnx)"
)
_CONVERTERS = {
    ".h5": _TF2ONNX.replace("{}", "--keras"),
    ".keras": "keras.saving.load_model('{source}').export('network.onnx', format='onnx'), in Keras 3",
    ".pb": _TF2ONNX.replace("{}", "--graphdef") + ", with --inputs and --outputs",
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".pt2": "torch.onnx.export(torch.export.load('{source}'), f='network.onnx')",
}
"""By the ending of what other frameworks write: what makes an ONNX file of it."""
_FOR_ONE_RUNTIME = (
    ".engine", ".plan", ".trt", ".rknn", ".om", ".hef", ".mlmodel", ".mlpackage", ".dlc", ".param", ".mnn",
)  # fmt: skip


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
        normalization: What the network says of itself that it expects; ``None`` if it does not.
        labels: The classes that it says of itself that it has; ``None`` if it does not.
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
    normalization: Normalization | None = None
    labels: tuple[Label, ...] | None = None

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


def _no_network(source: str) -> str:
    """What to give instead of a source of which only the torch network's code is known, or only its weights."""
    if source.lower().endswith(".py"):
        return f"{source} may hold many networks; name the function or class that makes one: {source}:factory"
    if source.lower().endswith(_CHECKPOINTS):
        return (
            f"{source} holds weights, not the network's code; give path/file.py:factory, or package.module:factory, and"
            f" the checkpoint with --weights {source}; of a TorchScript file, write a factory that returns"
            " torch.jit.load of it"
        )
    if (Path(source) / "config.json").is_file():
        return (
            f"{source} holds a network of transformers, or of another library; in a file.py, write a function that"
            f" returns it, by from_pretrained({source!r}) of its class, and give file.py:function"
        )
    if converter := _converter(Path(source)):
        return f"{source} is no format that is read; make an ONNX file of it: {converter}"
    if source.lower().endswith(_FOR_ONE_RUNTIME):
        return (
            f"{source} was made for one runtime and cannot be made into something else; give the network that it was"
            " made from, as ONNX or as a torch module"
        )
    return (
        f"{source}: expected path/file.py:factory, package.module:factory, a .onnx, a .tflite, an OpenVINO .xml, or"
        " weights of a reference network (.safetensors); got none of them"
    )


def _converter(path: Path) -> str:
    """The command that makes an ONNX file of what another framework wrote; empty for none."""
    if (path / "saved_model.pb").is_file():
        return _TF2ONNX.replace("{}", "--saved-model").format(source=path)
    return _CONVERTERS.get(path.suffix.lower(), "").format(source=path, folder=path.parent, stem=path.stem)


def is_ready_made(source: str) -> bool:
    """Whether the source is a file for one runtime, to be wrapped as it is."""
    return Path(source).suffix.lower() in READY_MADE


def open_source_network(
    source: str,
    *,
    weights: Path | None,
    size_hw: Size | None,
    output_name: str = "",
    classes: int | None = None,
    normalization: Normalization | None = None,
) -> SourceNetwork:
    """Open ``package.module:factory``, ``file.py:factory``, a ``.onnx`` file, or what ``edge-vseg-train`` wrote.

    Args:
        source: What to open.
        weights: A ``.safetensors`` file or a state dict for a torch module.
        size_hw: Input size, needed for a torch module.
        output_name: The output to take of several; empty for the one that looks most like scores.
        classes: Number of classes, if it is known, to tell scores by.
        normalization: What was asked for; ``None`` for what the network says of itself.

    Raises:
        SourceError: One of its kinds, if the network cannot be used.
        OptionError: If an option is missing or does not apply.
    """
    if source.lower().endswith(".onnx"):
        if weights is not None:
            raise OptionError(f"--weights does not apply to {source}: an ONNX file holds its weights")
        from edge_vseg.export.source.onnx_source import open_onnx

        network = open_onnx(Path(source), size_hw, output_name, classes)
    elif source.lower().endswith(TRAINED) and weights is not None:
        raise OptionError(f"--weights does not apply to {source}: it holds weights itself")
    elif source.lower().endswith(TRAINED) or ":" in source:
        if size_hw is None:
            raise OptionError(f"{source} is a torch module; give the size to export it at with --input-size HxW")
        network = _open_torch(source, weights, size_hw, output_name, classes, normalization)
    else:
        raise ModelFileError(_no_network(source))
    for note in network.notes:
        log.warning("%s: %s", network.name, note)
    return network


def _open_torch(
    source: str,
    weights: Path | None,
    size_hw: Size,
    output_name: str,
    classes: int | None,
    normalization: Normalization | None,
) -> SourceNetwork:
    from edge_vseg.export.source.torch_module import open_torch

    opened = open_torch(source, weights, output_name, classes, normalization)
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
        notes=(*opened.notes, *((chosen.note,) if chosen.note else ())),
        run_stages=opened.run_stages,
        normalization=opened.normalization,
        labels=opened.labels,
    )


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
