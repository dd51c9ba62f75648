"""The manifest of a bundle: its schema, and reading and writing it strictly.

Strict means: unknown keys, duplicate keys, NaN and infinities, wrong types and values that contradict
each other are all refused, with the path of the offending value in the message.
"""

from edge_vseg.bundle.manifest.document import CalibrationSpec, FileSpec, Manifest, SampledFrame, SourceSpec
from edge_vseg.bundle.manifest.roofline import Roofline, RooflineNode
from edge_vseg.bundle.manifest.schedule import CompanionSpec, ScheduleSpec
from edge_vseg.bundle.manifest.serialization import dumps, loads, schema_version
from edge_vseg.bundle.manifest.tensors import (
    DType,
    FrameSpec,
    HeadSpec,
    Label,
    Layout,
    Letterbox,
    Quantization,
    Resize,
    Spec,
    TensorSpec,
)
from edge_vseg.bundle.manifest.variants import (
    ClassIoU,
    FailedVariant,
    Parity,
    Precision,
    PrecisionTrial,
    Slice,
    Status,
    TileGraph,
    Variant,
)

__all__ = [
    "CalibrationSpec",
    "ClassIoU",
    "CompanionSpec",
    "DType",
    "FailedVariant",
    "FileSpec",
    "FrameSpec",
    "HeadSpec",
    "Label",
    "Layout",
    "Letterbox",
    "Manifest",
    "Parity",
    "Precision",
    "PrecisionTrial",
    "Quantization",
    "Resize",
    "Roofline",
    "RooflineNode",
    "SampledFrame",
    "ScheduleSpec",
    "Slice",
    "SourceSpec",
    "Spec",
    "Status",
    "TensorSpec",
    "TileGraph",
    "Variant",
    "dumps",
    "loads",
    "schema_version",
]
