"""The schedule that a bundle brings along: what ``edge-vseg tune`` found best for a device, read from the manifest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.bundle.manifest import CompanionSpec
from edge_vseg.errors import BundleError, OptionError
from edge_vseg.runtimes.selection.variant_selection import misfit_here
from edge_vseg.scheduling.device_profile import machine_key
from edge_vseg.scheduling.policies import Policy, make_policy
from edge_vseg.types import Borders

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSchedule:
    """A bundle's own schedule, ready to use.

    Attributes:
        policy: The policy.
        variant: Id of the variant that it was tuned with; empty for any.
        threads: Worker threads; 0 leaves the choice to the runtime.
        borders: How borders between classes are drawn.
        companion: Folder of the companion; ``None`` for none.
    """

    policy: Policy
    variant: str
    threads: int
    borders: Borders
    companion: Path | None


def own_schedule(bundle: Bundle, *, beside: Path | None = None) -> OwnSchedule | None:
    """The schedule in a bundle's manifest; ``None`` if there is none.

    On another machine than the one it was tuned for it holds all the same, with a warning.

    Args:
        bundle: The bundle.
        beside: The folder that its companion must lie in; ``None`` for the one that the bundle lies in.

    Raises:
        OptionError: If this version does not know the policy or one of its parameters; the message names the bundle.
        BundleError: If its companion is missing in that folder, or is another one.
    """
    spec = bundle.manifest.schedule
    if spec is None:
        return None
    try:
        policy = make_policy(spec.policy, **spec.parameters)
    except OptionError as exc:
        raise OptionError(
            f"the schedule in bundle {bundle.root} cannot be used: {exc}; choose a policy, or tune the bundle again"
        ) from exc
    if spec.machine not in ("", here := machine_key()):
        log.warning(
            "%s was tuned for %s and this is %s: its schedule may be too slow or too cautious here;"
            " run edge-vseg tune on this machine",
            bundle.root,
            spec.machine,
            here,
        )
    return OwnSchedule(
        policy=policy,
        variant=spec.variant,
        threads=spec.threads,
        borders=spec.borders,
        companion=None if spec.companion is None else _find_companion(bundle, spec.companion, beside),
    )


def tuned_variant(bundle: Bundle, own: OwnSchedule) -> str:
    """Id of the variant to run a schedule with: the one it was tuned with, or, with a warning, empty for ``auto``.

    A graph for another CPU may give wrong labels here, while the policy holds with any variant that has its parts. Its
    parameters are then as good as on any other machine than the tuned one; a device profile of the tuned variant is
    not used.

    Args:
        bundle: The bundle.
        own: Its own schedule.
    """
    if not own.variant:
        return ""
    reason = misfit_here(bundle.manifest, bundle.manifest.variant(own.variant))
    if not reason:
        return own.variant
    log.warning(
        "%s was tuned with %s, which does not fit this machine (%s): runtime='auto' chooses another variant; run"
        " edge-vseg tune on this machine",
        bundle.root,
        own.variant,
        reason,
    )
    return ""


def _find_companion(bundle: Bundle, wanted: CompanionSpec, beside: Path | None) -> Path:
    folder = (beside or bundle.root.absolute().parent) / wanted.name
    if not folder.is_dir():
        raise BundleError(
            f"{bundle.root} was tuned with the companion {wanted.name}, which must lie beside it; copy it to"
            f" {folder}, or choose a policy"
        )
    if open_bundle(folder).sha256 != wanted.sha256:
        raise BundleError(
            f"{folder} is not the companion that {bundle.root} was tuned with; put that one there, or choose a policy"
        )
    return folder
