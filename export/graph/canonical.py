"""One canonical form of a float graph: opset 20, static shapes, simplified, one output."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx
import onnxslim
from onnx import helper, version_converter

from edge_vseg.errors import DynamicShapeError, ModelFileError
from edge_vseg.export.error_text import first_line
from edge_vseg.export.graph.adaptive_pooling import simplify_adaptive_pooling
from edge_vseg.export.graph.batch import take_one_image
from edge_vseg.export.graph.einsum import simplify_einsum
from edge_vseg.export.graph.explicit_pads import write_out_pads
from edge_vseg.export.graph.explicit_sizes import write_out_sizes
from edge_vseg.export.graph.fixed_indices import simplify_fixed_indices
from edge_vseg.export.graph.gelu import fuse_gelu
from edge_vseg.export.graph.index import GraphIndex, described_tensors, prune
from edge_vseg.export.graph.interface import ImageInput, choose_size, find_image_input
from edge_vseg.export.graph.layer_names import layer_names, note_layers, noted_layer
from edge_vseg.export.graph.layer_norm import fuse_layer_norm
from edge_vseg.export.graph.listed_pads import keep_pads_flat
from edge_vseg.export.graph.matrix_constants import flatten_matrix_constants
from edge_vseg.export.graph.newer_operators import inline_newer, why_not_converted
from edge_vseg.export.graph.old_resizing import LAST_OLD_OPSET, restore_asymmetric, round_up_where_shrinking
from edge_vseg.export.graph.precision import to_float32
from edge_vseg.export.graph.reserved_names import free_reserved_names
from edge_vseg.export.graph.shape_branches import take_shape_branches
from edge_vseg.export.graph.top_one import simplify_top_one
from edge_vseg.export.graph.unpooling import simplify_unpooling
from edge_vseg.types import Size

OPSET = 20
_WITHOUT_PICKING = (
    "instead of picking elements by a mask, as x[mask] and x[mask] = value do, compute all and choose with"
    " torch.where or masked_fill"
)


def canonicalize(model: onnx.ModelProto, size_hw: Size | None) -> tuple[onnx.ModelProto, ImageInput]:
    """Bring a checked model to the canonical form.

    Args:
        model: As :func:`~edge_vseg.export.graph.onnx_file.read_onnx` gave it; not changed.
        size_hw: Input size, or ``None`` for the model's own.

    Returns:
        The canonical model, and its image input at the size chosen.

    Raises:
        DynamicShapeError: If shapes stay open, or the model does not work at that size.
        HeadError: If the input is no image.
        OptionError: If the size is neither given nor in the model.
        ModelFileError: If the model cannot be brought to opset 20.
    """
    # Code may compute a mean or a softmax in another precision, which quantizers and runtimes have few operators for.
    copy = to_float32(model)
    del copy.graph.output[1:]  # whoever opens a network with several has chosen before
    image = find_image_input(copy)
    size = choose_size(image, size_hw)
    _fix_input_shape(copy, image, size)
    if image.batch is not None and image.batch > 1:
        take_one_image(copy, image.batch)
    layers = layer_names(copy)
    old = _opset(copy) <= LAST_OLD_OPSET
    copy = _convert_opset(copy)
    write_out_sizes(copy)
    keep_pads_flat(copy)
    try:
        slim = _simplify(copy, image, size)
        slim = round_up_where_shrinking(slim) if old else slim
    except Exception as exc:  # onnxslim raises whatever its passes raise
        raise DynamicShapeError(_does_not_work(image, size, first_line(exc))) from exc
    write_out_pads(slim)
    _fuse(slim)
    slim.ir_version = 9
    del slim.metadata_props[:]  # ONNX Runtime's tools note there that they have inferred shapes, and believe it later
    del slim.opset_import[:]
    slim.opset_import.append(helper.make_opsetid("", OPSET))
    _name_nodes(slim)
    note_layers(slim, layers)
    free_reserved_names(slim, image.name)
    _require_static(slim, image, size)
    return slim, ImageInput(name=image.name, layout=image.layout, size_hw=size, dtype=image.dtype, batch=1)


def _simplify(model: onnx.ModelProto, image: ImageInput, size: Size) -> onnx.ModelProto:
    """The graph with everything folded that is fixed at this size."""
    try:
        slim = _folded(model)
    except Exception:  # where shapes decide what runs, inference sees both branches, of which one may not fit
        if not take_shape_branches(model, image, size):
            raise
        return _folded(model)
    # onnxslim folds most such branches itself.
    return _folded(slim) if take_shape_branches(slim, image, size) else slim


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    slim = onnxslim.slim(model)
    slim = simplify_adaptive_pooling(onnx.shape_inference.infer_shapes(slim, strict_mode=True))
    simplify_unpooling(slim)
    simplify_fixed_indices(slim)
    simplify_einsum(slim)
    simplify_top_one(slim)
    return onnx.shape_inference.infer_shapes(slim, strict_mode=True)


def _does_not_work(image: ImageInput, size: Size, reason: str) -> str:
    if image.batch is not None and image.batch > 1:
        return (
            f"the network takes a fixed batch of {image.batch} images, and that number is written into its operators:"
            f" {reason}; export it with a batch of 1"
        )
    return f"the network does not work at {size[0]}x{size[1]}: {reason}; give the --input-size it was trained at"


def _fix_input_shape(model: onnx.ModelProto, image: ImageInput, size: Size) -> None:
    value = next(i for i in model.graph.input if i.name == image.name)
    for dim, length in zip(value.type.tensor_type.shape.dim, image.shape(size), strict=True):
        dim.ClearField("dim_param")
        dim.dim_value = length
    # Shapes recorded for another size would contradict the new one.
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.ClearField("dim_value")
            dim.ClearField("dim_param")


def _opset(model: onnx.ModelProto) -> int:
    return int(next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


def _convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = _opset(model)
    if version != OPSET:
        try:
            model = version_converter.convert_version(inline_newer(model, OPSET), OPSET)
        except Exception as exc:  # the converter raises RuntimeError subclasses of its own, undocumented
            raise ModelFileError(
                f"opset {version} cannot be brought to {OPSET}: {why_not_converted(model, exc)};"
                f" export the network with opset {OPSET}, in float"
            ) from exc
    if version <= LAST_OLD_OPSET:
        restore_asymmetric(model)
    return model


def _fuse(model: onnx.ModelProto) -> None:
    """Write GELU and layer normalization as one operator each; quantizing would round between their parts."""
    nodes = fuse_gelu(model.graph)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    fuse_layer_norm(model)
    flatten_matrix_constants(model)
    prune(model, described_tensors(model))


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node the name of its first output, so that recipes can speak of nodes."""
    for node in model.graph.node:
        node.name = node.output[0]


def _require_static(model: onnx.ModelProto, image: ImageInput, size: Size) -> None:
    index = GraphIndex(model)
    for output in model.graph.output:
        shape = index.shape(output.name)
        if shape is None or None in shape:
            raise DynamicShapeError(
                f"output {output.name!r} keeps the shape {shape} at input {size[0]}x{size[1]};"
                " export the network with static shapes"
            )
        if image.batch is not None and shape[0] == image.batch > 1:
            raise DynamicShapeError(_does_not_work(image, size, f"output {output.name!r} keeps the shape {shape}"))
    for node in model.graph.node:
        if node.op_type == "Reshape":
            _require_same_volume(index, node, image, size)
        for name in node.output:
            shape = index.shape(name)
            if name and (shape is None or None in shape):
                layer = noted_layer(node)
                raise DynamicShapeError(
                    f"{node.op_type} {node.name!r}{f' of layer {layer!r}' if layer else ''} has a shape that depends on"
                    f" its input's values ({shape});"
                    f" {_WITHOUT_PICKING if node.op_type == 'NonZero' else 'export the network with static shapes'}"
                )


def _require_same_volume(index: GraphIndex, node: onnx.NodeProto, image: ImageInput, size: Size) -> None:
    """Shape inference believes a fixed Reshape whatever it reads; only running the network would show it."""
    before, after = index.shape(node.input[0]), index.shape(node.output[0])
    if before is None or after is None or None in before or None in after:
        return
    if np.prod(cast(tuple[int, ...], before)) != np.prod(cast(tuple[int, ...], after)):
        raise DynamicShapeError(_does_not_work(image, size, f"Reshape {node.name!r} makes {after} of {before}"))
