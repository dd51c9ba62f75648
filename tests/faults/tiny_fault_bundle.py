"""A bundle of the tiny network of tests/assets for the real runtimes, each behind a runtime of faults."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from faulty_runtime import FaultPlan, registered
from reference_bundle import make_manifest, make_variant

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, stage_bundle
from edge_vseg.bundle.manifest import FrameSpec, HeadSpec, TensorSpec, Variant
from edge_vseg.errors import BackendMissingError, BackendVersionError
from edge_vseg.runtimes import get_runtime

ASSETS = Path(__file__).parents[1] / "assets"
FILES = {"onnxruntime": ("tiny.onnx",), "openvino": ("tiny.xml", "tiny.bin"), "tflite": ("tiny.tflite",)}
SIZE_HW, CELLS_HW = (24, 32), (12, 16)


def installed_runtimes() -> list[str]:
    """Those of the three that are installed."""
    found = []
    for name in FILES:
        with contextlib.suppress(BackendMissingError, BackendVersionError):
            get_runtime(name).version()
            found.append(name)
    return found


def _variant(runtime: str) -> Variant:
    files = tuple(f"{runtime}/{name}" for name in FILES[runtime])
    return make_variant(
        f"faulty-{runtime}/float",
        runtime=f"faulty_{runtime}",
        entry=files[0],
        files=files,
        input=TensorSpec(name="frame", shape=(1, *SIZE_HW, 3), dtype="uint8", layout="NHWC"),
        output=TensorSpec(name="scores", shape=(1, 3, *CELLS_HW), dtype="float32", layout="NCHW"),
    )


def write_tiny_bundle(target: Path, runtimes: list[str]) -> Path:
    """A bundle with a variant for each runtime; open it within :func:`faulty`."""
    with stage_bundle(target) as staging:
        for runtime in runtimes:
            (staging.root / runtime).mkdir()
            for name in FILES[runtime]:
                shutil.copy(ASSETS / name, staging.root / runtime / name)
        (staging.root / "check").mkdir()
        import cv2

        for name, shape in ((CHECK_FRAME, (*SIZE_HW, 3)), (CHECK_LABELS, SIZE_HW)):
            (staging.root / name).write_bytes(cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes())
        manifest = make_manifest(
            *map(_variant, runtimes),
            frame=FrameSpec(size_hw=SIZE_HW),
            head=HeadSpec(kind="scores", size_hw=CELLS_HW),
            files=staging.list_files(),
        )
        staging.commit(manifest)
    return target


@contextlib.contextmanager
def faulty(runtime: str, plan: FaultPlan) -> Iterator[str]:
    """The name of a runtime of faults around a real one."""
    with registered(f"faulty_{runtime}", get_runtime(runtime), plan) as made:
        yield made.name
