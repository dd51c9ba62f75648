"""How the picture moved from one frame to the next: estimates of the motion field, and what can be told of them."""

from edge_vseg.motion.estimators import ESTIMATORS, CameraMotion, DisFlow, MotionEstimator, Still, motion_estimator
from edge_vseg.motion.field import carry_back, photometric_error, resize_field, sampling_map

__all__ = [
    "ESTIMATORS",
    "CameraMotion",
    "DisFlow",
    "MotionEstimator",
    "Still",
    "carry_back",
    "motion_estimator",
    "photometric_error",
    "resize_field",
    "sampling_map",
]
