"""What a profile was measured on."""

from __future__ import annotations

from edge_vseg.analysis.profiling.latency_profile import Machine
from edge_vseg.analysis.profiling.sensors import Sensors
from edge_vseg.analysis.provenance import versions
from edge_vseg.runtimes.cpu import cpu_features


def describe_machine(sensors: Sensors, runtime: str) -> Machine:
    """The processor, the machine's sensors, and the versions of the software."""
    return Machine(cpu=cpu_features().model, facts=sensors.describe(), versions=versions(runtime))
