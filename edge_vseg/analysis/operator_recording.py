"""Times of all operators of a bundle's float and int8 graphs on one machine, for an export on another.

Which nodes of an int8 graph may stay in float is a matter of what each takes in either, on the machine that runs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from edge_vseg.analysis.measurement_reading import FileHeader, read_measurements
from edge_vseg.analysis.provenance import versions
from edge_vseg.analysis.runtime_options import RuntimeOptions
from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.child_process import ChildProcess, ProcessLimits
from edge_vseg.errors import BackendError, OptionError, SessionError
from edge_vseg.runtimes import GraphSpec, SessionOptions
from edge_vseg.runtimes.cpu import cpu_features
from edge_vseg.runtimes.operator_times.measurement import OperatorTime, profile_operators
from edge_vseg.runtimes.probing import FAILURES, ProbeRule
from edge_vseg.runtimes.selection.auto import gpu_providers
from edge_vseg.runtimes.selection.compatibility import split_by_fit
from edge_vseg.trust import require_trust

SCHEMA = 1
RUNS = 30
LONGEST_MS = 1e9
PROBES_PER_PROFILE = 5
"""Profiling a graph may take so many times what one probe may."""
_HOW = "record it on the device with edge-vseg profile BUNDLE --record-operators FILE"


class RecordedVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One variant's operators.

    Attributes:
        id: The variant's.
        runtime: Its runtime.
        precision: ``float`` or ``int8``.
        float_nodes: Nodes of the int8 graph that are kept in float, by their names in the float graph.
        operators: All operators of the whole graph, most expensive first.
    """

    id: str
    runtime: str
    precision: Literal["float", "int8"]
    float_nodes: tuple[str, ...] = ()
    operators: Annotated[tuple[OperatorTime, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Raise ValueError for an impossible time."""
        for each in self.operators:
            if not 0 <= each.median_ms <= LONGEST_MS:
                raise ValueError(f"operator {each.name!r} takes {each.median_ms} ms")

    @property
    def total_ms(self) -> float:
        """What all operators take."""
        return sum(each.median_ms for each in self.operators)


class OperatorRecording(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="operators"
):
    """The file of ``edge-vseg profile --record-operators``.

    Attributes:
        schema: Version of this file's format.
        bundle: The bundle's name.
        bundle_sha256: SHA-256 of its manifest.
        size_hw: Its input size.
        macs: Multiply-accumulates of one frame; ``None`` if the manifest does not say.
        cpu: Model of the processor.
        threads: Worker threads that were requested; 0 is the runtime's choice.
        versions: Of this package and of the runtimes.
        variants: What was recorded.
        skipped: Why the others were not, by id.
    """

    schema: int = SCHEMA
    bundle: str
    bundle_sha256: str
    size_hw: tuple[int, int]
    macs: int | None
    cpu: str
    threads: int
    versions: dict[str, str]
    variants: tuple[RecordedVariant, ...]
    skipped: dict[str, str]

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Runtimes of which both a float and an int8 graph were recorded."""
        names = dict.fromkeys(each.runtime for each in self.variants)
        return tuple(name for name in names if self.of(name, "float") and self.of(name, "int8"))

    def of(self, runtime: str, precision: str) -> list[RecordedVariant]:
        """What was recorded of a runtime in a precision."""
        return [each for each in self.variants if (each.runtime, each.precision) == (runtime, precision)]

    def to_json(self) -> bytes:
        """The recording as JSON, UTF-8."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


class _Header(FileHeader, tag_field="kind", tag="operators"):
    """What every version of the file has."""


def record_operators(
    bundle: Path, options: RuntimeOptions, progress: Callable[[str], None] = lambda step: None
) -> OperatorRecording:
    """Profile the whole graph of every float and int8 variant that fits this machine, on zeros.

    Each is opened in a child process, which it may kill, unless ``EDGE_VSEG_PROBE`` says ``never``.

    Args:
        bundle: The bundle.
        options: Threads, provider and its options, and whom to trust; the variant is not read.
        progress: Called with the id of each variant.

    Raises:
        BundleError: If the bundle cannot be read or trusted.
        BackendError: If no runtime gave times of both a float and an int8 graph; the message has the reasons.
    """
    opened = open_bundle(bundle)
    require_trust(opened, options.trust)
    manifest, cpu = opened.manifest, cpu_features()
    fit, unfit = split_by_fit(manifest.variants, cpu, gpu_providers(manifest.variants, cpu))
    skipped = unfit | {failure.id: failure.message for failure in manifest.failed}
    session = SessionOptions(
        threads=options.threads, provider=options.provider, provider_options=options.provider_options
    )
    rule = ProbeRule.of_environment()
    found: list[RecordedVariant] = []
    with ChildProcess("its process", ProcessLimits(seconds=PROBES_PER_PROFILE * rule.seconds), FAILURES) as child:
        for variant in fit:
            if variant.precision not in ("float", "int8"):
                skipped[variant.id] = "only float and int8 are compared"
                continue
            progress(variant.id)
            opened.entry(variant)
            try:
                if sys.executable and rule.when != "never":
                    found.append(child.call(_record, opened, variant, session))
                else:
                    found.append(_record(opened, variant, session))
            except (BackendError, SessionError, OptionError) as exc:
                skipped[variant.id] = str(exc)
    recording = OperatorRecording(
        bundle=manifest.name,
        bundle_sha256=opened.sha256,
        size_hw=manifest.frame.size_hw,
        macs=manifest.source.macs,
        cpu=cpu.model,
        threads=options.threads,
        versions={name: text for each in found for name, text in versions(each.runtime).items()},
        variants=tuple(found),
        skipped=skipped,
    )
    if not recording.runtimes:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skipped.items())
        raise BackendError(
            f"no runtime gave times of both a float and an int8 graph of {bundle}; export it with --precision"
            f" int8,float for this machine{reasons}"
        )
    return recording


def _record(bundle: Bundle, variant: Variant, options: SessionOptions) -> RecordedVariant:
    spec = GraphSpec.of(input=variant.input, output=variant.output)
    inputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs}
    times = profile_operators(variant.runtime, bundle.root / variant.entry, spec, options, inputs, runs=RUNS)
    return RecordedVariant(
        id=variant.id,
        runtime=variant.runtime,
        precision="int8" if variant.precision == "int8" else "float",
        float_nodes=variant.float_nodes,
        operators=times,
    )


def read_operator_recording(path: Path) -> OperatorRecording:
    """Read a file of ``edge-vseg profile --record-operators``.

    Raises:
        OptionError: If it is missing, damaged, no such file, or no runtime has both a float and an int8 graph in it.
    """
    recording = read_measurements(
        path,
        OperatorRecording,
        _Header,
        schema=SCHEMA,
        wrong="holds no times of operators",
        how=_HOW,
        again="record it again",
    )
    if not recording.runtimes:
        have = ", ".join(each.id for each in recording.variants) or "nothing"
        raise OptionError(
            f"{path} holds times of {have}, of no runtime both a float and an int8 graph; {_HOW}, of a bundle that has"
            " both for the device"
        )
    return recording
