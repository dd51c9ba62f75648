"""Motion between frames: optical flow, codec motion vectors, warping and occlusion checks."""

from edge_vseg.motion.field import RemapTables, photometric_error, remap_tables, resize_field, sampling_map
from edge_vseg.motion.motion_vectors import block_field
from edge_vseg.motion.optical_flow import (
    CODEC,
    ESTIMATORS,
    STILL,
    DisFlow,
    MotionEstimator,
    Still,
    check_motion,
    motion_estimator,
)

__all__ = [
    "CODEC",
    "ESTIMATORS",
    "STILL",
    "DisFlow",
    "MotionEstimator",
    "RemapTables",
    "Still",
    "block_field",
    "check_motion",
    "motion_estimator",
    "photometric_error",
    "remap_tables",
    "resize_field",
    "sampling_map",
]
