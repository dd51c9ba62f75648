"""Where an int8 model of OpenVINO may be cut, so that slices round where the whole graph does.

On the CPU a convolution that takes an addition in with it does not round what it adds to, though the graph has a
FakeQuantize there; one that does not, rounds it. Whether it does depends on who else reads the other side of the
addition, and so on where a graph is cut: in a network of residual blocks one value in nine behind an addition differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from edge_vseg.export.partition.chain import CutRules
from edge_vseg.export.partition.data_flow import DataFlow
from edge_vseg.export.quantization.openvino_qdq import read_openvino
from edge_vseg.export.telemetry import no_telemetry

with no_telemetry():
    import openvino as ov

Fusions = Mapping[str, int]
"""Number of the layer that each operator is a part of, by the operator's name, for layers that are convolutions."""
_BETWEEN = ("Relu", "Clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedModel:
    """What is asked of a model before it is cut.

    Attributes:
        names: Of its tensors.
        fusions: What is fused in an int8 one; ``None`` for a float one.
    """

    names: frozenset[str]
    fusions: Fusions | None


def fused_file(path: Path) -> FusedModel:
    """:func:`fused_model` of an ``.xml``."""
    return fused_model(read_openvino(path))


def fused_model(model: ov.Model) -> FusedModel:
    """The names of a model's tensors, and what OpenVINO fuses in it on this machine."""
    nodes = model.get_ops()
    names = frozenset(name for node in nodes for port in node.outputs() for name in port.get_names())
    rounds = any(node.get_type_name() == "FakeQuantize" for node in nodes)
    return FusedModel(names=names, fusions=find_fusions(model) if rounds else None)


def find_fusions(model: ov.Model) -> Fusions:
    """What OpenVINO fuses with convolutions on this machine."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    fusions: dict[str, int] = {}
    for number, layer in enumerate(compiled.get_runtime_model().get_ordered_ops()):
        info = layer.get_rt_info()
        if _text(info["layerType"]) == "Convolution":
            fusions |= dict.fromkeys(_text(info["originalLayersNames"]).split(","), number)
    return fusions


def openvino_rules(flow: DataFlow, model: FusedModel) -> CutRules:
    """Where a model may be cut: at tensors that it still has, and where slices round as the whole.

    Args:
        flow: The canonical graph, whose names the model has kept.
        model: The whole model.
    """
    return CutRules(exists=model.names.__contains__, allowed=_rounds_as_whole(flow, model.fusions))


def _rounds_as_whole(flow: DataFlow, fusions: Fusions | None) -> Callable[[Sequence[onnx.NodeProto]], bool]:
    """Tells whether nodes of the canonical graph, as a slice, round where the whole model does; a float one always."""
    if fusions is None:
        return lambda nodes: True
    additions = [
        (node, conv, other)
        for node in flow.order
        if node.op_type == "Add"
        for side, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0]))
        if (conv := _convolution(flow, side)) is not None and other in flow.index.producer
    ]

    def allowed(nodes: Sequence[onnx.NodeProto]) -> bool:
        names = {node.name for node in nodes}
        for node, conv, other in additions:
            taken_in = node.output[0] in fusions and fusions.get(conv.output[0]) == fusions[node.output[0]]
            if taken_in and (conv.name in names) != (node.name in names):
                return False
            if node.output[0] in fusions or not {conv.name, node.name} <= names:
                continue
            # It is not fused since somebody else reads the other side; here nobody would.
            others = {reader.name for reader in flow.index.consumers[other]} - flow.ancestors(node.output)
            if flow.index.producer[other].name not in names and not others & names:
                return False
        return True

    return allowed


def _convolution(flow: DataFlow, tensor: str) -> onnx.NodeProto | None:
    """The convolution that a tensor comes from, by an activation that belongs to it."""
    node = flow.index.producer.get(tensor)
    while node is not None and node.op_type in _BETWEEN and len(flow.index.consumers[node.input[0]]) == 1:
        node = flow.index.producer.get(node.input[0])
    return node if node is not None and node.op_type == "Conv" else None


def _text(value: object) -> str:
    return str(getattr(value, "value", value))
