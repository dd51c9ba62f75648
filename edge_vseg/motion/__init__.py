"""How the picture moved from one frame to the next: estimates of the motion field, and what can be told of them."""

from edge_vseg.motion.field import photometric_error, resize_field, sampling_map
from edge_vseg.motion.motion_vectors import block_field
from edge_vseg.motion.optical_flow import (
    CODEC,
    ESTIMATORS,
    DisFlow,
    MotionEstimator,
    Still,
    check_motion,
    motion_estimator,
)

__all__ = [
    "CODEC",
    "ESTIMATORS",
    "DisFlow",
    "MotionEstimator",
    "Still",
    "block_field",
    "check_motion",
    "motion_estimator",
    "photometric_error",
    "resize_field",
    "sampling_map",
]
