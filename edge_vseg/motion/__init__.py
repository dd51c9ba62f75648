"""How the picture moved from one frame to the next: estimates of the motion field, and what can be told of them."""

from edge_vseg.motion.codec import block_field
from edge_vseg.motion.estimators import (
    CODEC,
    ESTIMATORS,
    CameraMotion,
    DisFlow,
    MotionEstimator,
    Still,
    check_motion,
    motion_estimator,
)
from edge_vseg.motion.field import photometric_error, resize_field, sampling_map

__all__ = [
    "CODEC",
    "ESTIMATORS",
    "CameraMotion",
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
