"""The tiny network of tests/assets, and bundles of it, for the tests of this folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_vseg.bundle.manifest import (
    CalibrationSpec,
    FailedVariant,
    FileSpec,
    FrameSpec,
    HeadSpec,
    Label,
    Manifest,
    SourceSpec,
    TensorSpec,
    Variant,
)
from edge_vseg.errors import BackendMissingError, BackendVersionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.backends.reference import write_reference
from edge_vseg.runtimes.port import GraphSpec, Runtime

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "tests" / "assets"
SHA = "0" * 64


@dataclass(frozen=True, eq=False)
class Tiny:
    """The network of tests/assets/make_assets.py: a frame, and its scores computed by plain loops."""

    frame: np.ndarray
    scores: np.ndarray
    spec: GraphSpec


def tensor(name: str, shape: tuple[int, ...], dtype: str, layout: str, **more: object) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype, layout=layout, **more)


def tiny_spec() -> GraphSpec:
    return GraphSpec.of(
        input=tensor("frame", (1, 24, 32, 3), "uint8", "NHWC"),
        output=tensor("scores", (1, 3, 12, 16), "float32", "NCHW"),
    )


def installed(name: str) -> Runtime:
    """The runtime, or a skip that says what is missing."""
    runtime = get_runtime(name)
    try:
        runtime.version()
    except (BackendMissingError, BackendVersionError) as exc:
        pytest.skip(str(exc))
    return runtime


def variant(variant_id: str, runtime: str, **more: object) -> Variant:
    """A variant of the tiny network, whose id is its folder: ``tflite/float`` has ``tflite/float/tiny.tflite``."""
    suffix = {"onnxruntime": "onnx", "openvino": "xml", "tflite": "tflite"}.get(runtime, "npz")
    entry = f"{variant_id}/tiny.{suffix}"
    fields = {
        "precision": "float",
        "target": "any",
        "status": "ok",
        "entry": entry,
        "files": (entry,),
        "input": tiny_spec().input,
        "output": tiny_spec().output,
    }
    return Variant(id=variant_id, runtime=runtime, **(fields | more))


def manifest(*variants: Variant, failed: tuple[FailedVariant, ...] = ()) -> Manifest:
    return Manifest(
        schema_version=1,
        name="tiny",
        labels=tuple(Label(id=i, name=f"class{i}", color=(i, i, i)) for i in range(3)),
        frame=FrameSpec(size_hw=(24, 32)),
        head=HeadSpec(kind="scores", size_hw=(12, 16)),
        source=SourceSpec(name="tiny", kind="reference", sha256=SHA),
        variants=variants,
        failed=failed,
        calibration=CalibrationSpec(),
        files={path: FileSpec(bytes=1, sha256=SHA) for v in variants for path in v.files},
    )


def write_blocks(path: Path, stride: int = 2) -> Path:
    """A reference graph with three classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weight = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    write_reference(path, weight, np.zeros(3, np.float32), stride)
    return path
