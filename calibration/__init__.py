"""Choosing the frames of sample videos that calibrate the int8 graphs, and those that judge them."""

from edge_vseg.calibration.sample import FrameSample, sample_frames

__all__ = ["FrameSample", "sample_frames"]
