"""Bundles to update."""

from __future__ import annotations

from pathlib import Path

from networks import deep_onnx, frames

from edge_vseg.bundle.labels import numbered_labels
from edge_vseg.bundle.manifest import CalibrationSpec, SampledFrame
from edge_vseg.export import ExportOptions, ExportThresholds, Normalization, SampleFrames, export_bundle

INT8 = "onnxruntime/int8-x86_64-avx2"
OPTIONS = ExportOptions(
    labels=numbered_labels(4),
    normalization=Normalization(mean=(127.5,) * 3, scale=(64.0,) * 3),
    runtimes=("onnxruntime",),
    targets=("x86_64-avx2",),
    max_drop=1.0,
    slices=False,
    thresholds=ExportThresholds(int8_accepted=1.0),  # nothing is chosen by measured time
)


def contents(folder: Path, *, under: str = "") -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix()).startswith(under)
    }


def exported(folder: Path, sample: SampleFrames, options: ExportOptions) -> Path:
    (folder / "net.onnx").write_bytes(deep_onnx().SerializeToString())
    return export_bundle(str(folder / "net.onnx"), folder / "net.evseg", sample, options).path


def other_sample() -> SampleFrames:
    spec = CalibrationSpec(validation_frames=(SampledFrame(file="other.mp4", seq=3, time_s=None),))
    return SampleFrames(calibration=frames(4, start=50), validation=frames(3, start=70), spec=spec)
