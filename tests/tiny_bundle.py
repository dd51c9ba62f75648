"""The network of tests/assets as bundles of one variant, cheap to write and to open."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np

from edge_vseg.bundle import CHECK_FRAME, CHECK_LABELS, manifest

ASSETS = Path(__file__).resolve().parent / "assets"
SIZE_HW, CLASSES, STRIDE = (24, 32), 3, 2
SCORES = (1, CLASSES, SIZE_HW[0] // STRIDE, SIZE_HW[1] // STRIDE)
GRAPHS = {
    "onnxruntime": ("tiny.onnx",),
    "openvino": ("tiny.xml", "tiny.bin"),
    "tflite": ("tiny.tflite",),
}


def write_tiny_bundle(root: Path, runtime: str) -> Path:
    """The network of tests/assets as a bundle of one variant."""
    with np.load(ASSETS / "tiny.npz") as arrays:
        frame, scores = arrays["frame"][0], arrays["scores"][0]
    names = [f"{runtime}/float/{name}" for name in GRAPHS[runtime]]
    for name, source in zip(names, GRAPHS[runtime], strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ASSETS / source, root / name)
    (root / "check").mkdir()
    large = [cv2.resize(plane, SIZE_HW[::-1], interpolation=cv2.INTER_LINEAR) for plane in scores]
    cv2.imwrite(str(root / CHECK_FRAME), frame)
    cv2.imwrite(str(root / CHECK_LABELS), np.argmax(large, axis=0).astype(np.uint8))
    files = {
        path.relative_to(root).as_posix(): manifest.FileSpec(
            bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(root.rglob("*.*"))
    }
    (root / "manifest.json").write_bytes(manifest.dumps(_tiny_manifest(runtime, tuple(names), files)))
    return root


def _tiny_manifest(runtime: str, names: tuple[str, ...], files: dict[str, manifest.FileSpec]) -> manifest.Manifest:
    parity = manifest.Parity(
        frames=1, pixel_agreement=1.0, mean_iou=1.0, sqnr_db=None, worst_frame=0, worst_agreement=1.0, latency_ms=1.0,
        float_latency_ms=1.0, iou=tuple(manifest.ClassIoU(name=f"class{i}", iou=1.0) for i in range(CLASSES)),
    )  # fmt: skip
    variant = manifest.Variant(
        id=f"{runtime}/float", runtime=runtime, precision="float", target="any", status="ok", entry=names[0],
        files=names, parity=parity,
        input=manifest.TensorSpec(name="frame", shape=(1, *SIZE_HW, 3), dtype="uint8", layout="NHWC"),
        output=manifest.TensorSpec(name="scores", shape=SCORES, dtype="float32", layout="NCHW"),
    )  # fmt: skip
    return manifest.Manifest(
        schema_version=4, name="tiny", variants=(variant,), files=files,
        labels=tuple(manifest.Label(id=i, name=f"class{i}", color=(i, i, i)) for i in range(CLASSES)),
        frame=manifest.FrameSpec(size_hw=SIZE_HW), head=manifest.HeadSpec(kind="scores", size_hw=SCORES[2:]),
        source=manifest.SourceSpec(name="tiny", kind="onnx", sha256="0" * 64, macs=10**6),
        calibration=manifest.CalibrationSpec(),
    )  # fmt: skip
