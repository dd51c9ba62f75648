"""A camera and a segmenter in the background, for control loops: the newest result, its age, and health."""

from edge_vseg.pipeline.board import PipelineCounts
from edge_vseg.pipeline.fleet import Fleet, FleetCamera
from edge_vseg.pipeline.health import Health, HealthLimits
from edge_vseg.pipeline.options import PipelineOptions
from edge_vseg.pipeline.pipeline import Pipeline
from edge_vseg.pipeline.subscription import Subscription, SubscriptionCounts

__all__ = [
    "Fleet",
    "FleetCamera",
    "Health",
    "HealthLimits",
    "Pipeline",
    "PipelineCounts",
    "PipelineOptions",
    "Subscription",
    "SubscriptionCounts",
]
