"""Run a float graph on frames and read its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.graph.input_stage import FRAME, is_input_node
from edge_vseg.export.quantization.clips import clips_beyond_zero
from edge_vseg.runtimes.backends.onnx_runtime import QDQ_IN_FLOAT, SPINNING
from edge_vseg.types import Image

# Their output takes the quantization of the operator after them, or of their input.
_FOLLOWED = ("Relu", "Clip")
_FORWARDING = ("MaxPool", "Pad", "Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten")


def activation_names(model: onnx.ModelProto) -> list[str]:
    """Names of all float tensors that nodes of the graph compute."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    floats = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return [name for node in model.graph.node for name in node.output if name in floats]


def rounded_names(model: onnx.ModelProto) -> list[str]:
    """The activations at which an int8 graph really rounds, output and input stage left out."""
    index = GraphIndex(model)
    outputs = {o.name for o in model.graph.output}
    alone = set(clips_beyond_zero(model))
    names = []
    for name in activation_names(model):
        node, readers = index.producer[name], index.consumers.get(name, [])
        followed = len(readers) == 1 and readers[0].op_type in _FOLLOWED and readers[0].name not in alone
        if not followed and node.op_type not in _FORWARDING and name not in outputs and not is_input_node(node):
            names.append(name)
    return names


def open_float(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A CPU session that logs nothing: errors are raised. Its threads sleep between runs, as others may need the cores.

    A graph that rounds is computed in float between its roundings, and gives the same on every CPU.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(SPINNING, "0")
    options.add_session_config_entry(QDQ_IN_FLOAT, "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def watch_activations(
    model: onnx.ModelProto,
    frames: Iterable[Image],
    names: list[str],
    receive: Callable[[str, NDArray[np.float32]], None],
) -> None:
    """Run the graph on each frame and pass every named tensor to ``receive``.

    Args:
        model: A graph with the input ``frame``.
        frames: ``(H, W, 3)`` uint8 at the graph's input size.
        names: Tensors to watch.
        receive: Called with the name and the tensor of shape ``(1, ...)``.
    """
    if not names:
        return  # ONNX Runtime takes no names for all outputs
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    have = {o.name for o in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in have)
    session = open_float(watched)
    for frame in frames:
        for name, value in zip(names, session.run(names, {FRAME: frame[None]}), strict=True):
            receive(name, value)


Infer = Callable[[Image], NDArray[np.generic]]
"""From a frame ``(H, W, 3)`` uint8 to the first output of a graph."""


def start_onnx(model: onnx.ModelProto, threads: int = 0, *, in_float: bool = False) -> Infer:
    """Open a graph of ONNX Runtime.

    Args:
        model: The graph.
        threads: So many that sleep between runs, as on a robot; 0 for all cores.
        in_float: Compute in float between roundings, where integer kernels of this CPU would saturate.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry(SPINNING, "0")
    options.add_session_config_entry(QDQ_IN_FLOAT, str(int(in_float)))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frame: np.asarray(session.run(None, {FRAME: frame[None]})[0])


def run_frames(model: onnx.ModelProto, frames: Iterable[Image]) -> list[NDArray[np.float32]]:
    """The first output of the graph for each frame."""
    session = open_float(model)
    return [session.run(None, {FRAME: frame[None]})[0] for frame in frames]


def class_agreement(reference: Iterable[NDArray[np.generic]], outputs: Iterable[NDArray[np.generic]]) -> float:
    """Share of cells in which two graphs give the same class, averaged over frames."""
    pairs = zip(reference, outputs, strict=True)
    return float(np.mean([np.mean(winning_classes(a) == winning_classes(b)) for a, b in pairs]))


def winning_classes(output: NDArray[np.generic]) -> NDArray[np.generic]:
    """The class of each cell of a graph's output: logits ``(1, C, h, w)``, or a finished label map."""
    return output.argmax(1) if output.ndim == 4 else output
