"""Workstation: from a trained network and a sample video to a bundle of int8 graphs.

Needs the extra ``export``; nothing here is imported on a device.
"""

from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.export.conversion_limits import ConversionLimits
from edge_vseg.export.export_options import ExportOptions
from edge_vseg.export.export_thresholds import ExportThresholds
from edge_vseg.export.graph.input_stage import Normalization
from edge_vseg.export.pipeline import BundleUpdate, Exported, export_bundle, update_bundle
from edge_vseg.export.quantization.device_times import DeviceTimes
from edge_vseg.export.training_length import TrainingLength

__all__ = [
    "BundleUpdate",
    "ConversionLimits",
    "DeviceTimes",
    "ExportOptions",
    "ExportThresholds",
    "Exported",
    "Normalization",
    "SampleFrames",
    "TrainingLength",
    "export_bundle",
    "update_bundle",
]
