"""Bundles on disk: opening them with suspicion, and replacing them atomically."""

from edge_vseg.bundle.reading import CHECK_FRAME, CHECK_LABELS, Bundle, open_bundle
from edge_vseg.bundle.writing import Staging, check_target, stage_bundle

__all__ = ["CHECK_FRAME", "CHECK_LABELS", "Bundle", "Staging", "check_target", "open_bundle", "stage_bundle"]
