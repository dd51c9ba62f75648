"""What the user calls the layer that a node came from."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from edge_vseg.export.graph.layer_names import layer_names


@pytest.mark.parametrize(
    ("scopes", "name"),
    [
        ("['', 'network', 'network.decoder.up', 'add']", "decoder.up"),
        ("['', 'network', 'add']", "node_1"),  # of the network itself, which has no name; its wrapper is ours
        ("['', 'networks.up', 'add']", "networks.up"),
        ("[unreadable", "node_1"),
    ],
    ids=["layer", "whole network", "another name", "unreadable"],
)
def test_layer(scopes: str, name: str) -> None:
    node = helper.make_node("Relu", ["image"], ["y"], name="node_1")
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    graph = helper.make_graph([node], "net", [helper.make_empty_tensor_value_info("image")], [])
    assert layer_names(onnx.ModelProto(graph=graph)) == {"y": name}
