"""int8 for OpenVINO, by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_vseg.errors import QuantizationError
from edge_vseg.export.graph.input_stage import FRAME
from edge_vseg.export.telemetry import no_telemetry
from edge_vseg.types import Image

with no_telemetry():
    import nncf
    import openvino as ov


def to_openvino(model: onnx.ModelProto, scratch: Path) -> ov.Model:
    """Convert a float graph to OpenVINO.

    Args:
        model: The graph.
        scratch: An existing folder for the file that the converter reads.

    Raises:
        QuantizationError: If OpenVINO cannot convert it.
    """
    path = scratch / "for_openvino.onnx"
    onnx.save(model, path)
    try:
        return ov.convert_model(path)
    except Exception as exc:  # OpenVINO raises RuntimeError and its own kinds
        raise QuantizationError(f"OpenVINO cannot convert the network: {exc}") from exc


def quantize_openvino(model: ov.Model, frames: Sequence[Image], *, float_nodes: Sequence[str] = ()) -> ov.Model:
    """Static int8 by NNCF: asymmetric activations where they help, symmetric per-channel weights.

    Args:
        model: A float model with the input ``frame``.
        frames: Calibration frames ``(H, W, 3)`` uint8 at the input size.
        float_nodes: Names of nodes that stay in float.

    Raises:
        QuantizationError: If NNCF fails.
    """
    # Not nncf.set_log_level, which also changes every handler attached to its logger, the caller's own among them.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    known = {op.get_friendly_name() for op in model.get_ops()}
    scope = nncf.IgnoredScope(names=[n for n in float_nodes if n in known], validate=False)
    dataset = nncf.Dataset(list(frames), lambda frame: {FRAME: frame[None]})
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars would mix with --json
            return nncf.quantize(
                model,
                dataset,
                preset=nncf.QuantizationPreset.PERFORMANCE,
                subset_size=len(frames),
                ignored_scope=scope if scope.names else None,
            )
    except Exception as exc:  # NNCF raises its own kinds and RuntimeError
        raise QuantizationError(f"NNCF cannot quantize the network: {exc}") from exc


def run_openvino(model: ov.Model, frames: Sequence[Image]) -> list[NDArray[np.generic]]:
    """First output of the model for each frame, on the CPU, what is not int8 in float32."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(compiled({FRAME: frame[None]})[0]) for frame in frames]


def read_openvino(path: Path) -> ov.Model:
    """Read an ``.xml`` that :func:`save_openvino` wrote."""
    return ov.Core().read_model(path)


def save_openvino(model: ov.Model, path: Path) -> None:
    """Write ``.xml`` and ``.bin``, weights uncompressed; the same model always gives the same bytes."""
    for number, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        # OpenVINO numbers nodes without a name over the whole process, so the numbers tell what was made before.
        # A constant that was folded has the number, and the kind, of the node that it came from.
        made_by = "[A-Z][A-Za-z]*" if kind == "Constant" else kind
        if re.fullmatch(rf"{made_by}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_{number}")
    ov.save_model(model, path, compress_to_fp16=False)
