"""Calibration by sample videos: frames for int8 and for judging it; costs and drift of a bundle on this machine."""

from edge_vseg.calibration.device import calibrate_device
from edge_vseg.calibration.sample import FrameSample, sample_frames

__all__ = ["FrameSample", "calibrate_device", "sample_frames"]
