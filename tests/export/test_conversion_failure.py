"""Which layer a tool's message means."""

from __future__ import annotations

import pytest
from networks import Net

from edge_vseg.export.conversion_failure import failed_layer
from edge_vseg.export.graph.layer_names import note_layers


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("While validating ONNX node '<Node(Relu): relu0>':", "encoder.relu"),
        ("==> Context: Bad node spec for node. Name: relu0 OpType: Relu", "encoder.relu"),
        ("Quantization parameters are not specified for param 'sigmoid1'", "sigmoid1"),
        ("-- No conversion rule found for operations: Det-20, Relu-14", "encoder.relu"),
        ("relu0 is part of a word, as in relu01", ""),
        ("", ""),
    ],
)
def test_the_node_is_found_as_tools_write_it(text: str, layer: str) -> None:
    net = Net()
    model = net.model(net.node("Sigmoid", net.node("Relu", "image")))
    for node in model.graph.node:
        node.name = node.output[0]
    note_layers(model, {"relu0": "encoder.relu"})
    assert failed_layer(text, model) == layer
