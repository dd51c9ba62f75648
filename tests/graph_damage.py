"""Graph files that are still well formed, but say something else: what a flipped bit rarely reaches."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
from damage import damaged_bytes, pick

_INTS = (0, 1, -1, 2, 3, 7, 127, 255, 2**15, 2**31 - 1, -(2**31))
_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"))


def damaged_graph(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Change a graph by its own format's structure; one of another format as bytes."""
    suffix = name.rpartition(".")[2]
    change = {"onnx": _damaged_onnx, "tflite": _damaged_tflite, "xml": _damaged_ir}.get(suffix, damaged_bytes)
    for _ in range(20):
        changed: bytes = change(data, rng)
        if changed != data:
            return changed
    return damaged_bytes(data, rng)


def endless_onnx(shape: tuple[int, ...], scores: tuple[int, ...]) -> bytes:
    """A network whose loop does not end before the sun does."""
    import onnx
    from onnx import TensorProto, helper

    inner = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["held"], ["holds"])],
        "body",
        [helper.make_tensor_value_info(n, t, []) for n, t in (("step", TensorProto.INT64), ("going", TensorProto.BOOL))]
        + [helper.make_tensor_value_info("held", TensorProto.FLOAT, scores)],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("holds", TensorProto.FLOAT, scores),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "yes", "zeros"], ["scores"], body=inner)],
        "endless",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores)],
        [
            helper.make_tensor("times", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("zeros", TensorProto.FLOAT, scores, np.zeros(scores, np.float32).tobytes(), raw=True),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def lacking_tflite(data: bytes, rng: np.random.Generator) -> bytes:
    """The same network with an operator that lacks an input: some kernels read it all the same."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    operator = pick(rng, model.subgraphs[0].operators)
    operator.inputs[int(rng.integers(len(operator.inputs)))] = -1
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def external_onnx(data: bytes, location: str) -> bytes:
    """The same network, with its largest tensor in another file."""
    import onnx

    model = onnx.load_from_string(data)
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


def _damaged_onnx(data: bytes, rng: np.random.Generator) -> bytes:
    import onnx

    model = onnx.load_from_string(data)
    for _ in range(pick(rng, (1, 1, 2, 3))):
        _change_message(*pick(rng, list(_fields(model))), rng)
    return bytes(model.SerializeToString())


def _fields(message: Any) -> Any:
    """Every field that is set in a message or below it, with the message."""
    waiting = [message]
    while waiting:
        each = waiting.pop()
        for field, value in each.ListFields():
            yield each, field
            if field.message_type is not None:
                waiting += list(value) if _is_repeated(field) else [value]


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def _change_message(message: Any, field: Any, rng: np.random.Generator) -> None:
    value = getattr(message, field.name)
    if _is_repeated(field):
        if not len(value):
            return
        at = int(rng.integers(len(value)))
        match pick(rng, ("drop", "repeat", "swap", "clear", "change")):
            case "drop":
                del value[at]
            case "repeat":
                value.append(value[at])
            case "swap":
                other = int(rng.integers(len(value)))
                items = list(value)
                items[at], items[other] = items[other], items[at]
                copies = [type(v).FromString(v.SerializeToString()) if field.message_type else v for v in items]
                del value[:]
                value.extend(copies)
            case "clear":
                del value[:]
            case _ if field.message_type is None:
                value[at] = _other_scalar(value[at], rng)
    elif field.message_type is not None or rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        try:
            setattr(message, field.name, _other_scalar(value, rng))
        except ValueError:  # out of the field's range
            setattr(message, field.name, 1)


def _other_scalar(value: Any, rng: np.random.Generator) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return pick(rng, (value + 1, value - 1, -value, *_INTS))
        case float():
            return pick(rng, (-value, *_FLOATS))
        case str():
            return pick(rng, ("", "frame", "scores", "hidden", "Loop", "If", "Gather", value[:-1], value + "x"))
        case bytes():
            return damaged_bytes(value, rng)
    return value


def _damaged_tflite(data: bytes, rng: np.random.Generator) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    for _ in range(pick(rng, (1, 1, 2, 3))):
        _change_object(*pick(rng, list(_attributes(model))), rng)
    builder = flatbuffers.Builder(len(data) + 1024)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
    except (TypeError, ValueError, OverflowError, AttributeError, AssertionError):
        return data  # nothing that the format can hold; drawn again


def _attributes(model: Any) -> Any:
    waiting = [model]
    while waiting:
        each = waiting.pop()
        for name, value in vars(each).items():
            if value is None:
                continue
            yield each, name
            if isinstance(value, list):
                waiting += [item for item in value if hasattr(item, "Pack")]
            elif hasattr(value, "Pack"):
                waiting.append(value)


def _change_object(parent: Any, name: str, rng: np.random.Generator) -> None:
    value = getattr(parent, name)
    if isinstance(value, np.ndarray) and value.size:
        changed = value.copy()
        at = int(rng.integers(value.size))
        with np.errstate(all="ignore"):
            changed.flat[at] = (
                pick(rng, _FLOATS) if value.dtype.kind == "f" else np.array(pick(rng, _INTS)).astype(value.dtype)
            )
        setattr(parent, name, changed if rng.random() < 0.8 else changed[:at])
    elif isinstance(value, list) and value:
        items = list(value)
        at = int(rng.integers(len(items)))
        match pick(rng, ("drop", "repeat", "reverse", "change")):
            case "drop":
                del items[at]
            case "repeat":
                items.append(items[at])
            case "reverse":
                items.reverse()
            case _ if not hasattr(items[at], "Pack"):
                items[at] = _other_scalar(items[at], rng)
        setattr(parent, name, items)
    elif hasattr(value, "Pack"):
        setattr(parent, name, None)
    else:
        setattr(parent, name, _other_scalar(value, rng))


def _damaged_ir(data: bytes, rng: np.random.Generator) -> bytes:
    tree = ElementTree.fromstring(data)
    for _ in range(pick(rng, (1, 1, 2, 3))):
        parents = {child: parent for parent in tree.iter() for child in parent}
        element = pick(rng, list(parents))
        match pick(rng, ("drop", "repeat", "attribute", "attribute", "attribute", "text", "rename")):
            case "drop":
                parents[element].remove(element)
            case "repeat":
                parents[element].append(element)
            case "attribute" if element.attrib:
                key = pick(rng, list(element.attrib))
                element.set(key, pick(rng, ("", "0", "-1", "1", "2", "1000000000", "f32", "i64", "u8", "x", "Result")))
            case "text" if element.text and element.text.strip():
                element.text = pick(rng, ("0", "-1", "1", "1000000000", "x"))
            case "rename":
                element.tag = pick(rng, ("layer", "edge", "port", "dim", "data", "x"))
    return ElementTree.tostring(tree)
