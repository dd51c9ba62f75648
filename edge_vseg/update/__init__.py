"""Updates of bundles on devices: signed releases, slots, and a way back."""

from edge_vseg.update.sources import TransferLimits
from edge_vseg.update.updater import UpdateOptions, UpdateReport, install_update
from edge_vseg.update.watch import WatchOptions

__all__ = ["TransferLimits", "UpdateOptions", "UpdateReport", "WatchOptions", "install_update"]
