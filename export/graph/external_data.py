"""Read the weights that an ONNX model keeps in files beside it, as torch writes them by default since 2.9.

The file names stand in a model of unknown origin, so nothing outside the model's folder is opened.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import TensorProto, helper

from edge_vseg.errors import ExternalDataError

_LARGEST = 2**31 - 1
"""Protocol buffers, and so every tool that the export uses, end at 2 GiB."""
_PACKED = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4}
_RESAVE = "save it as one file: onnx.save(onnx.load(path), new_path, save_as_external_data=False)"


def embed_external_data(model: onnx.ModelProto, folder: Path, *, where: str) -> bytes:
    """Bring tensors that lie in other files into the model.

    Args:
        model: Changed in place.
        folder: The model's folder.
        where: Names the model in messages.

    Returns:
        SHA-256 of all that was read; empty if nothing lies outside.

    Raises:
        ExternalDataError: If a location leaves the folder, is no plain file, or does not hold what the model says.
    """
    files: dict[str, Path] = {}
    digest, total = hashlib.sha256(), 0
    for tensor in _external_tensors(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location not in files:
            files[location] = _plain_file(folder, location, tensor.name, where)
        size = _size_bytes(tensor)
        if size < 0:
            raise ExternalDataError(
                f"model {where} keeps tensor {tensor.name!r} in another file, of a type that cannot lie there;"
                f" {_RESAVE}"
            )
        total += size
        if total > _LARGEST:
            raise ExternalDataError(f"model {where} has more than 2 GiB of weights; export a smaller network")
        tensor.raw_data = _read_part(files[location], entries, size, tensor.name, where)
        digest.update(tensor.raw_data)
        del tensor.external_data[:]
        tensor.data_location = TensorProto.DEFAULT
    return digest.digest() if files else b""


def refuse_external_data(model: onnx.ModelProto, where: str) -> None:
    """Refuse a model that came without a folder and keeps tensors outside itself.

    Raises:
        ExternalDataError: If it does.
    """
    for tensor in _external_tensors(model):
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        raise ExternalDataError(f"model {where} keeps tensor {tensor.name!r} in another file ({location!r}); {_RESAVE}")


def _plain_file(folder: Path, location: str, tensor: str, where: str) -> Path:
    kept = f"model {where} keeps tensor {tensor!r} in another file ({location!r}"
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts):
        raise ExternalDataError(f"{kept}, a path that leaves the model's folder); {_RESAVE}")
    path, root = folder / location, folder.resolve()
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError as exc:
        raise ExternalDataError(
            f"{kept}), and there is no {path}; copy that file beside the model, as the export wrote both"
        ) from exc
    except (OSError, RuntimeError, ValueError) as exc:  # a circle of links, a folder that may not be read, a NUL
        raise ExternalDataError(f"{kept}), which cannot be read: {exc}; {_RESAVE}") from exc
    if not real.is_relative_to(root):
        raise ExternalDataError(f"{kept}, a link that leaves the model's folder); copy the file itself there")
    if not real.is_file():
        raise ExternalDataError(f"{kept}), which is no plain file; {_RESAVE}")
    return real


def _read_part(path: Path, entries: dict[str, str], size: int, tensor: str, where: str) -> bytes:
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or size)
    except ValueError as exc:
        raise ExternalDataError(
            f"model {where} is damaged: tensor {tensor!r} has no place in {path.name}: {exc}"
        ) from exc
    if offset < 0 or length != size:
        raise ExternalDataError(
            f"model {where} is damaged: tensor {tensor!r} needs {size} bytes, and {length} at {offset} of {path.name}"
            " are named; export it again"
        )
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as exc:
        raise ExternalDataError(f"weights {path} of model {where} cannot be read: {exc.strerror}") from exc
    if len(data) != length:
        raise ExternalDataError(
            f"weights {path} of model {where} are too short: tensor {tensor!r} lies at {offset} to {offset + length},"
            f" the file has {path.stat().st_size} bytes; copy or download it again"
        )
    return data


def _size_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes that a tensor takes; -1 for strings and unknown types, which cannot lie outside."""
    count: int = math.prod(tensor.dims)
    if tensor.data_type in _PACKED:
        return -(-count * _PACKED[tensor.data_type] // 8)
    if tensor.data_type == TensorProto.STRING:
        return -1
    try:
        itemsize: int = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError):
        return -1
    return count * itemsize


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = _graph_tensors(model.graph)
    functions = (tensor for function in model.functions for tensor in _node_tensors(function.node))
    for tensor in (*graphs, *functions):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
