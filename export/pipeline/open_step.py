"""Step 1: open the trained network."""

from __future__ import annotations

from pathlib import Path

from edge_vseg.export.pipeline.job import ExportJob
from edge_vseg.export.source.ready_made import ReadyMade, read_ready_made
from edge_vseg.export.source.source_network import SourceNetwork, is_ready_made, open_source_network


def open_network_step(job: ExportJob) -> SourceNetwork | ReadyMade:
    """Open the source; quick, for a torch module is traced only when its graph is needed.

    Returns:
        The network, or the description of a file that is wrapped as it is.

    Raises:
        SourceError: If the network cannot be used.
        OptionError: If an option does not apply to it.
    """
    job.progress("reading the network")
    if is_ready_made(job.source):
        return read_ready_made(Path(job.source), job.options)
    options = job.options
    return open_source_network(
        job.source,
        weights=options.weights,
        size_hw=options.size_hw,
        output_name=options.output_name,
        classes=None if options.labels is None else len(options.labels),
        normalization=options.normalization,
    )
