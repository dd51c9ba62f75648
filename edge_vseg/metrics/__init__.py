"""How much two label maps or two score tensors have in common."""

from edge_vseg.metrics.confusion import Confusion
from edge_vseg.metrics.signal import sqnr_db

__all__ = ["Confusion", "sqnr_db"]
