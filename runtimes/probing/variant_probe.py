"""Open and run the graphs of a variant in a child process, once on each machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Variant
from edge_vseg.child_process import ChildFailures, ChildProcess, ProcessLimits
from edge_vseg.errors import BackendCrashError, ProbeTimeoutError, SessionError
from edge_vseg.runtimes import get_runtime
from edge_vseg.runtimes.port import GraphSpec, SessionOptions
from edge_vseg.runtimes.probing.probe_record import ProbeRecord, probe_key
from edge_vseg.runtimes.probing.probe_rule import PROBE_VARIABLE, ProbeRule
from edge_vseg.runtimes.timing import noise

log = logging.getLogger(__name__)

FAILURES = ChildFailures(
    died=BackendCrashError,
    late=ProbeTimeoutError,
    other=SessionError,
    more_memory="use a smaller network, or a machine with more memory",
    more_time=f"if this machine is that slow, allow more with update's --probe-timeout or {PROBE_VARIABLE}=first:300",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantProbe:
    """Tries graphs of a bundle before this process opens them.

    Attributes:
        bundle: The bundle.
        rule: When, and for how long.
        record: What was tried before.
    """

    bundle: Bundle
    rule: ProbeRule
    record: ProbeRecord

    @property
    def active(self) -> bool:
        """Whether anything may be tried: Python that is embedded in another program cannot start a child."""
        return self.rule.when != "never" and bool(sys.executable)

    def check(self, variant: Variant, options: SessionOptions) -> None:
        """Open and run every graph of a variant in a child process, unless it is known.

        Args:
            variant: The variant.
            options: How its graphs will be opened.

        Raises:
            BackendCrashError: If a graph kills the process, or takes all memory.
            ProbeTimeoutError: If opening and running one takes longer than the rule allows.
            BackendError: As opening or running it raises.
        """
        unknown = self._unknown(variant, options)
        if not unknown:
            return
        with ChildProcess("its process", ProcessLimits(seconds=self.rule.seconds), FAILURES) as child:
            for entry, (spec, key) in unknown.items():
                try:
                    child.call(open_and_run, variant.runtime, self.bundle.root / entry, spec, options)
                except (BackendCrashError, ProbeTimeoutError) as exc:
                    path = self.bundle.root / entry
                    raise type(exc)(
                        f"{path} was tried out with {variant.runtime} in a process of its own: {exc}"
                    ) from None
                self.record.add(key)
        log.info("%s: %d graphs opened and run in a process of their own", variant.id, len(unknown))

    def knows(self, variant: Variant, options: SessionOptions) -> None:
        """Record that the whole graph of a variant was opened and run."""
        if self.active:
            spec = GraphSpec.of(input=variant.input, output=variant.output)
            self.record.add(probe_key(self.bundle, variant.runtime, variant.entry, spec, options))

    def _unknown(self, variant: Variant, options: SessionOptions) -> dict[str, tuple[GraphSpec, str]]:
        if not self.active:
            return {}
        keys = {
            entry: (spec, probe_key(self.bundle, variant.runtime, entry, spec, options))
            for entry, spec in graphs_of(variant)
        }
        return {
            entry: (spec, key)
            for entry, (spec, key) in keys.items()
            if self.rule.when == "always" or key not in self.record
        }


def graphs_of(variant: Variant) -> Iterator[tuple[str, GraphSpec]]:
    """The graphs of a variant, each by its path in the bundle: the whole one, slices, and the one for tiles."""
    yield variant.entry, GraphSpec.of(input=variant.input, output=variant.output)
    for part in variant.slices:
        yield part.entry, GraphSpec(inputs=part.inputs, outputs=part.outputs)
    if variant.tile is not None:
        yield variant.tile.entry, GraphSpec.of(input=variant.tile.input, output=variant.tile.output)


def open_and_run(runtime: str, path: Path, spec: GraphSpec, options: SessionOptions) -> None:
    """Open a graph and run it once on noise.

    Raises:
        BackendError: If either fails.
    """
    rng = np.random.default_rng(0)
    session = get_runtime(runtime).open(path, spec, options)
    try:
        session.run({tensor.name: noise(tensor, rng) for tensor in spec.inputs})
    finally:
        session.close()
