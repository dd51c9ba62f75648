"""Calibration with sample videos: frames that calibrate and validate int8; costs and drift on this machine."""

from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration.device.device_calibration import DeviceCalibrationOptions, calibrate_device
from edge_vseg.calibration.device.layer_timing import time_layers
from edge_vseg.calibration.frames.sampling import sample_frames

__all__ = ["DeviceCalibrationOptions", "SampleFrames", "calibrate_device", "sample_frames", "time_layers"]
