"""Metrics of label maps: accuracy, temporal consistency, streaming accuracy; and the noise of quantized scores."""

from edge_vseg.analysis.metrics.boundary import BoundaryF
from edge_vseg.analysis.metrics.confusion import Confusion
from edge_vseg.analysis.metrics.consistency import VideoConsistency
from edge_vseg.analysis.metrics.distance import ByDistance
from edge_vseg.analysis.metrics.signal import sqnr_db
from edge_vseg.analysis.metrics.streaming import StreamingMiou
from edge_vseg.analysis.metrics.temporal import TemporalConsistency

__all__ = [
    "BoundaryF",
    "ByDistance",
    "Confusion",
    "StreamingMiou",
    "TemporalConsistency",
    "VideoConsistency",
    "sqnr_db",
]
