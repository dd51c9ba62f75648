"""Which cells a nearest-neighbour Resize reads, and whether the device would read the same."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_vseg.export.graph.index import GraphIndex, attribute
from edge_vseg.imaging.label_maps import resize_labels
from edge_vseg.types import LabelMap

_OPSET = 20
_OF_ALL_AXES = ("axes", "keep_aspect_ratio_policy")


def device_reads_the_same(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether a device that enlarges label maps reads the cells that the Resize of a canonical graph reads.

    The device reads the cell under each pixel's centre; torch's ``nearest`` reads that under its corner, which is the
    same only where the size is a whole multiple.
    """
    before, after = index.shape(node.input[0]), index.shape(node.output[0])
    policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
    where = attribute(node, "coordinate_transformation_mode", "half_pixel")
    if before is None or after is None or None in (*before, *after):
        return False
    if policy != "stretch" or where == "tf_crop_and_resize":
        return False
    sides = zip(cast("tuple[int, ...]", before), cast("tuple[int, ...]", after), strict=True)
    resized = [axis % len(before) for axis in cast("list[int]", attribute(node, "axes", [*range(len(before))]))]
    for axis, (size, new_size) in enumerate(sides):
        if axis not in resized:
            continue
        own = _read_by_network(index, node, resized.index(axis), size)
        if own is None or not np.array_equal(own, _read_by_device(size, new_size)):
            return False
    return True


def _read_by_network(index: GraphIndex, node: onnx.NodeProto, place: int, size: int) -> NDArray[np.float32] | None:
    """The cell that each output index of an axis reads, as ONNX Runtime has it; ``None`` if that is not fixed."""
    scales, sizes = (index.constant(node.input[at]) if len(node.input) > at else None for at in (2, 3))
    if scales is not None and scales.size:
        factor, given = np.array([1, 1, scales[place], 1], np.float32), ["cells", "", "factor"]
    elif sizes is not None and sizes.size:
        factor, given = np.array([1, 1, sizes[place], 1], np.int64), ["cells", "", "", "factor"]
    else:
        return None
    one = onnx.NodeProto()
    one.CopyFrom(node)
    kept = [each for each in node.attribute if each.name not in _OF_ALL_AXES]
    del one.attribute[:], one.input[:], one.output[:]
    one.attribute.extend(kept)
    one.input.extend(given)
    one.output.append("read")
    graph = helper.make_graph(
        [one],
        "axis",
        [helper.make_tensor_value_info("cells", TensorProto.FLOAT, [1, 1, size, 1])],
        [helper.make_tensor_value_info("read", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(factor, "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    cells = np.arange(size, dtype=np.float32).reshape(1, 1, size, 1)
    return np.asarray(session.run(None, {"cells": cells})[0], np.float32).reshape(-1)


def _read_by_device(size: int, new_size: int) -> NDArray[np.float32]:
    column = np.arange(size, dtype=np.float32).reshape(size, 1)
    return np.asarray(resize_labels(cast(LabelMap, column), (new_size, 1)), np.float32).reshape(-1)
