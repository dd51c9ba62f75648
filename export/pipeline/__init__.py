"""An export as steps over one job: open, float graph, check, quantize, validate, partition, write.

Each step is a function of the job and of what earlier steps returned, and can be called by itself. It leaves its result
in the job's work folder, and takes it from there when it is called again with the same inputs.
"""

from edge_vseg.export.pipeline.bundle_update import BundleUpdate
from edge_vseg.export.pipeline.export_bundle import export_bundle, export_prepared, prepare_source
from edge_vseg.export.pipeline.job import ExportJob, open_job
from edge_vseg.export.pipeline.update_bundle import update_bundle
from edge_vseg.export.pipeline.write_step import Exported

__all__ = [
    "BundleUpdate",
    "ExportJob",
    "Exported",
    "export_bundle",
    "export_prepared",
    "open_job",
    "prepare_source",
    "update_bundle",
]
