"""Calibration by sample videos: frames for int8 and for judging it; costs and drift of a bundle on this machine."""

from edge_vseg.bundle.sample_frames import SampleFrames
from edge_vseg.calibration.device.device_calibration import calibrate_device
from edge_vseg.calibration.frames.sampling import sample_frames

__all__ = ["SampleFrames", "calibrate_device", "sample_frames"]
