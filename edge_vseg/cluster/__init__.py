"""Independent jobs over processes and machines: a failed job, a dead process or a lost node takes nothing else with it.

Only this package imports ``ray``, and only when a cluster is asked for.
"""

from __future__ import annotations

from edge_vseg.cluster.jobs import JobFailure
from edge_vseg.cluster.workers import Workers, open_workers

__all__ = ["JobFailure", "Workers", "open_workers"]
