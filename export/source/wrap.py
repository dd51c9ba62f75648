"""Wrap a ready-made TFLite or OpenVINO file as a bundle for its own runtime, without changing it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle.manifest import HeadSpec, Label, SourceSpec, Variant
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.source.ready_made import ReadyMade
from edge_vseg.types import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A ready-made file in the work folder, and what the manifest says about it."""

    variant: Variant
    head: HeadSpec
    labels: tuple[Label, ...]
    size_hw: Size
    source: SourceSpec


def wrap_ready_made(source: Path, found: ReadyMade, root: Path, options: ExportOptions) -> Wrapped:
    """Copy the file and describe it.

    Args:
        source: A ``.tflite``, or an OpenVINO ``.xml`` with its ``.bin`` beside it.
        found: What :func:`read_ready_made` said of it.
        root: The folder that holds the variants' folders.
        options: Classes, normalisation and colour order count.
    """
    quantized = found.input.dtype != "float32" or _has_int8(found.runtime, source)
    variant_id = f"{found.runtime}/{'int8' if quantized else 'float'}"
    folder = root / variant_id
    folder.mkdir(parents=True, exist_ok=True)
    files = [source] if found.runtime == "tflite" else [source, source.with_suffix(".bin")]
    for file in files:
        shutil.copyfile(file, folder / f"model{file.suffix.lower()}")
    variant = Variant(
        id=variant_id,
        runtime=found.runtime,
        precision="int8" if quantized else "float",
        target="any",
        status="ok",
        recipe="as it came",
        entry=f"{variant_id}/model{source.suffix.lower()}",
        files=(),
        input=found.input,
        output=found.output,
    )
    norm = options.normalization or Normalization()
    spec = SourceSpec(
        name=source.name,
        kind=found.runtime,
        sha256=found.sha256,
        mean=norm.mean,
        scale=norm.scale,
        color=norm.color,
        frame_color=norm.color,
        output=found.output_name,
    )
    return Wrapped(variant=variant, head=found.head, labels=found.labels, size_hw=found.size_hw, source=spec)


def _has_int8(runtime: str, path: Path) -> bool:
    if runtime == "tflite":
        return False
    return b"FakeQuantize" in path.read_bytes()
