"""Calibration by sample videos: frames for int8 and for judging it; costs and drift of a bundle on this machine."""

from edge_vseg.calibration.device.device_calibration import calibrate_device
from edge_vseg.calibration.frames.sampling import FrameSample, sample_frames

__all__ = ["FrameSample", "calibrate_device", "sample_frames"]
