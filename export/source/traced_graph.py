"""From a torch module to ONNX, whatever form the module comes in: compiled, scripted, or in another precision."""

from __future__ import annotations

import io

import onnx
import torch

from edge_vseg.export.graph.canonical import OPSET
from edge_vseg.export.graph.index import GraphIndex
from edge_vseg.export.source.missing_operators import (
    WithoutMissingOperators,
    missing_operator,
    refuse_divisors_in_script,
    refuse_dropped_divisors,
)

_SCRIPT_OPSET = 17
"""The newest opset that torch's exporter for TorchScript writes."""
_TAKEN_FOR_ZERO = 1e-8
"""onnxscript's ``abs_tol`` of a constant in the pattern of a sum with zero."""


def uncompiled(network: torch.nn.Module) -> torch.nn.Module:
    """The module as it was before ``torch.compile``."""
    inner: torch.nn.Module = getattr(network, "_orig_mod", network)
    return inner


def evaluated(network: torch.nn.Module) -> torch.nn.Module:
    """The module in evaluation mode; a graph that ``torch.export`` made computes as in the one it was exported in."""
    for part in network.modules():
        for name in ("train", "eval"):
            vars(part).pop(name, None)  # which refuse to change it, and with it that of any module around
    return network.eval()


def to_float_weights(network: torch.nn.Module) -> bool:
    """Bring weights of another precision to float32, in place, as those of an ONNX file are; whether there were any."""
    kinds = {tensor.dtype for tensor in network.parameters() if tensor.is_floating_point()}
    if kinds <= {torch.float32}:
        return False
    network.float()
    return True


def trace_graph(wrapped: torch.nn.Module, network: torch.nn.Module, image: torch.Tensor, place: int) -> onnx.ModelProto:
    """The ONNX graph of a network at the size of an image.

    Args:
        wrapped: The network, giving the one output that is taken.
        network: The network itself.
        image: ``(1, 3, H, W)`` float32.
        place: Where in the network's outputs the one that is taken stands.

    Raises:
        Exception: Whatever tracing the user's code raises.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return _of_script(network, image, place)
    if any(isinstance(part, torch.jit.ScriptModule) for part in network.modules()):
        return _of_script(torch.jit.trace(wrapped, image), image, 0)
    try:
        return _of_wrapped(wrapped, image)
    except Exception as exc:
        if missing_operator(exc) is None:
            raise
        first = exc
    try:
        with WithoutMissingOperators():
            return _of_wrapped(wrapped, image)
    except Exception as exc:
        if missing_operator(exc) is not None:
            raise
    raise first


def _of_wrapped(wrapped: torch.nn.Module, image: torch.Tensor) -> onnx.ModelProto:
    program = torch.onnx.export(
        wrapped, (image,), dynamo=True, opset_version=OPSET, verbose=False, optimize=False
    )  # fmt: skip
    assert program is not None
    assert program.exported_program is not None
    refuse_dropped_divisors(program.exported_program)
    plain: onnx.ModelProto = program.model_proto
    if _adds_tiny_constant(plain):
        return plain
    program.optimize()
    model: onnx.ModelProto = program.model_proto
    # torch 2.13's optimizer loses the bounds of the second of two clamps behind one ReLU.
    return model if _has_all_it_reads(model) else plain


def _of_script(network: torch.jit.ScriptModule, image: torch.Tensor, place: int) -> onnx.ModelProto:
    """torch.export has no way into TorchScript; the older exporter has, where nothing is wrapped around it."""
    refuse_divisors_in_script(network)
    file = io.BytesIO()
    torch.onnx.export(network, (image,), file, dynamo=False, opset_version=_SCRIPT_OPSET)
    model = onnx.load_from_string(file.getvalue())
    taken = model.graph.output[place]
    del model.graph.output[:]
    model.graph.output.append(taken)
    return model


def _adds_tiny_constant(model: onnx.ModelProto) -> bool:
    """Whether a number is added that torch's optimizer takes for zero, as the 1e-8 that keeps a divisor from it."""
    index = GraphIndex(model)
    for node in model.graph.node:
        for name in node.input if node.op_type in ("Add", "Sub") else ():
            value = index.constant(name)
            if value is not None and value.size == 1 and 0 < abs(float(value.reshape(()))) <= _TAKEN_FOR_ZERO:
                return True
    return False


def _has_all_it_reads(model: onnx.ModelProto) -> bool:
    graph = model.graph
    known = {"", *(tensor.name for tensor in graph.initializer), *(value.name for value in graph.input)}
    for node in graph.node:
        if not known.issuperset(node.input):
            return False
        known.update(node.output)
    return True
