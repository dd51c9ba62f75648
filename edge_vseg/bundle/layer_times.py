"""How long layers of a network take on a device, by their number of channels.

The workstation writes a folder with one small int8 graph for each layer and width; the device times them, with nothing
but the package and ONNX Runtime; the workstation reads the times when it makes the network smaller. The types are
defined here because the packages of both sides do not import each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edge_vseg.bundle.manifest import TensorSpec
from edge_vseg.errors import CalibrationError
from edge_vseg.files import write_whole
from edge_vseg.input_files import read_regular, strict_json

SCHEMA = 1
LAYER_INDEX = "layers.json"


class LayerKind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer but for its number of channels.

    ``kernel_hw``, ``stride_hw`` and ``dilation_hw`` are in pixels, as is the input, ``size_hw``; ``pads`` are top,
    left, bottom, right. ``depthwise`` has a filter for each channel, ``transposed`` enlarges its input.
    """

    size_hw: tuple[int, int]
    kernel_hw: tuple[int, int]
    stride_hw: tuple[int, int]
    dilation_hw: tuple[int, int]
    pads: tuple[int, int, int, int]
    depthwise: bool
    transposed: bool


class TimedGraph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph in the folder: its ``file``, and its one input and output."""

    file: str
    input: TensorSpec
    output: TensorSpec


class LayerGraph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The graph of one layer, and how many channels the layer ``reads`` and ``makes``."""

    kind: LayerKind
    reads: int
    makes: int
    graph: TimedGraph


class LayerFolder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is in a folder of layers: the ``network`` as a whole, its ``name``, and its ``layers`` in several widths."""

    schema: int
    name: str
    network: TimedGraph
    layers: tuple[LayerGraph, ...]


class LayerTime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a layer takes, in ms."""

    kind: LayerKind
    reads: int
    makes: int
    ms: float


class LayerTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the layers of a network take on a device.

    ``machine``, ``runtime`` and ``threads`` say where; ``network_ms`` is the time of the whole int8 graph.
    """

    schema: int
    name: str
    machine: str
    runtime: str
    threads: int
    network_ms: float
    layers: tuple[LayerTime, ...]


_Record = TypeVar("_Record", LayerFolder, LayerTimes)


def read_layer_folder(folder: Path) -> LayerFolder:
    """Read the index of a folder of layers.

    Raises:
        CalibrationError: If it is no such folder.
    """
    path = folder / LAYER_INDEX
    if not path.is_file():
        raise CalibrationError(
            f"{folder} has no {LAYER_INDEX}; write one with edge-vseg shrink … --write-layers {folder}"
        )
    return _read(path, LayerFolder)


def read_layer_times(path: Path) -> LayerTimes:
    """Read what a device measured.

    Raises:
        CalibrationError: If it is no such file.
    """
    if not path.is_file():
        raise CalibrationError(
            f"no layer times at {path}; make them on the device with edge-vseg calibrate FOLDER --output {path.name}"
        )
    return _read(path, LayerTimes)


def write_json(path: Path, record: LayerFolder | LayerTimes) -> None:
    """Write a record, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def _read(path: Path, kind: type[_Record]) -> _Record:
    try:
        record = msgspec.convert(strict_json(read_regular(path)), kind)
    except (OSError, ValueError, msgspec.ValidationError) as exc:
        raise CalibrationError(f"{path} is no file of layer times: {exc}; make it again") from exc
    if record.schema != SCHEMA:
        raise CalibrationError(f"{path} has schema {record.schema}, this version reads {SCHEMA}; make it again")
    return record
