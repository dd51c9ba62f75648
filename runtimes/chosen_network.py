"""The network of a bundle, ready to be opened: trusted, its variant chosen, its graphs tried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import Bundle
from edge_vseg.bundle.manifest import Precision, Variant
from edge_vseg.bundle.unchanged import check_unchanged
from edge_vseg.errors import BundleFileError
from edge_vseg.runtimes import GraphSpec, Session, SessionOptions, get_runtime
from edge_vseg.runtimes.probing import ProbeRecord, ProbeRule, VariantProbe
from edge_vseg.runtimes.selection.auto import NO_NEED
from edge_vseg.runtimes.selection.cache import default_cache_path
from edge_vseg.runtimes.selection.schedule_need import ScheduleNeed
from edge_vseg.runtimes.selection.variant_selection import Misfit, Selection, select_variant
from edge_vseg.trust import TrustPolicy, require_trust


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkChoice:
    """How to choose a network's variant, and how to open it; see :class:`~edge_vseg.open_options.OpenOptions`.

    Attributes:
        session: How its graphs are opened.
        runtime: ``auto`` or the name of a runtime.
        precision: ``None`` for any.
        variant: Id of the variant, instead of ``runtime`` and ``precision``.
        misfit: What becomes of that variant if it is not made for this machine.
        cache: File in which measurements are remembered; ``None`` for the user's cache folder.
        probe: When graphs are tried in a child process; ``None`` for the environment's rule.
        trust: Whose bundles are opened; ``None`` for this machine's own rule.
    """

    session: SessionOptions
    runtime: str = "auto"
    precision: Precision | None = None
    variant: str = ""
    misfit: Misfit = "refuse"
    cache: Path | None = None
    probe: ProbeRule | None = None
    trust: TrustPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChosenNetwork:
    """A bundle and one of its variants.

    Attributes:
        bundle: The bundle.
        selection: The variant, and how to open it.
    """

    bundle: Bundle
    selection: Selection

    @property
    def variant(self) -> Variant:
        """The variant."""
        return self.selection.variant

    def open_whole(self) -> Session:
        """Open the whole graph."""
        variant = self.variant
        return self._open(self.bundle.entry(variant), GraphSpec.of(input=variant.input, output=variant.output))

    def open_graph(self, entry: str, part: GraphSpec) -> Session:
        """Open any graph of the bundle, by its path there."""
        return self._open(self.bundle.file(entry), part)

    def _open(self, file: Path, part: GraphSpec) -> Session:
        session = get_runtime(self.variant.runtime).open(file, part, self.selection.options)
        try:
            check_unchanged(self.bundle)  # afterwards: a bundle that is replaced meanwhile would give a graph of each
        except BundleFileError:
            session.close()
            raise
        return session


def choose_network(bundle: Bundle, choice: NetworkChoice, need: ScheduleNeed = NO_NEED) -> ChosenNetwork:
    """Choose a variant of a bundle, and try it out where the rule asks for that.

    Args:
        bundle: The bundle.
        choice: How.
        need: What the schedule asks of the variant.

    Raises:
        BundleError: If the bundle cannot be trusted.
        BackendError: If no variant can be opened.
        OptionError: If an option names something that does not exist.
    """
    require_trust(bundle, choice.trust)
    cache = choice.cache or default_cache_path()
    probe = VariantProbe(
        bundle=bundle,
        rule=choice.probe or ProbeRule.of_environment(),
        record=ProbeRecord(None if cache is None else cache.parent / "probed"),
    )
    selection = select_variant(
        bundle,
        choice.session,
        runtime=choice.runtime,
        precision=choice.precision,
        variant_id=choice.variant,
        misfit=choice.misfit,
        need=need,
        cache=cache,
        probe=probe,
    )
    bundle.entry(selection.variant)  # its hashes, before a runtime sees a byte of it
    probe.check(selection.variant, selection.options)
    return ChosenNetwork(bundle=bundle, selection=selection)
