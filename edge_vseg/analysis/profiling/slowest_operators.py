"""The slowest operators of every graph that a policy may run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_vseg.analysis.profiling.latency_profile import OperatorLatency
from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.errors import BackendError, OptionError, SessionError
from edge_vseg.runtimes import GraphSpec, SessionOptions
from edge_vseg.runtimes.operator_times.measurement import profile_operators

MAX_OPERATORS = 10
RUNS = 10


def slowest_operators(
    bundle: Bundle, variant: Variant, options: SessionOptions, needs: str
) -> tuple[list[OperatorLatency], str]:
    """Profile the whole graph, its slices and its tile graph with the runtime's own profiler.

    Inputs are zeros: on the CPUs that we support, the time of an operator does not depend on its input.

    Args:
        bundle: The bundle.
        variant: The variant that runs.
        options: How its graphs are opened.
        needs: What the policy runs besides the whole graph: :attr:`Policy.needs`.

    Returns:
        The ten slowest operators of each graph, slowest first; and, if there are none, the reason.
    """
    operators: list[OperatorLatency] = []
    for part, entry, spec in _graphs(variant, needs):
        inputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs}
        try:
            times = profile_operators(variant.runtime, bundle.root / entry, spec, options, inputs, runs=RUNS)
        except (BackendError, SessionError, OptionError) as exc:
            return [], str(exc)
        operators += [
            OperatorLatency(part=part, name=each.name, kind=each.kind, ms=each.ms, share=each.share)
            for each in times[:MAX_OPERATORS]
        ]
    return operators, ""


def _graphs(variant: Variant, needs: str) -> Iterator[tuple[str, str, GraphSpec]]:
    yield "whole", variant.entry, GraphSpec.of(input=variant.input, output=variant.output)
    for number, part in enumerate(variant.slices if needs in ("slices", "context", "any") else ()):
        yield f"slice {number}", part.entry, GraphSpec(inputs=part.inputs, outputs=part.outputs)
    if variant.tile is not None and needs in ("tiles", "any"):
        yield "tile", variant.tile.entry, GraphSpec.of(input=variant.tile.input, output=variant.tile.output)
