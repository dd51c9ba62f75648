"""Which variant of a bundle to measure, and on what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from edge_vseg.bundle import open_bundle
from edge_vseg.bundle.manifest import Precision
from edge_vseg.open_options import OpenOptions
from edge_vseg.scheduling.device_profile import DeviceProfile
from edge_vseg.scheduling.own_schedule import own_schedule, tuned_variant
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.replay import VirtualClock
from edge_vseg.segmenter import Segmenter
from edge_vseg.trust import TrustPolicy
from edge_vseg.types import Borders

_Options = TypeVar("_Options", bound="RuntimeOptions")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Which variant to open, and how; as in :meth:`Segmenter.open <edge_vseg.Segmenter.open>`.

    Attributes:
        runtime: ``auto`` for the fastest variant here, or ``onnxruntime``, ``openvino``, ``tflite``.
        precision: ``int8``, ``float`` or ``float16``; ``None`` for any.
        variant: Id of one variant, instead of ``runtime`` and ``precision``.
        threads: Worker threads; 0 leaves the choice to the runtime.
        provider: Execution provider, device or delegate; empty for the CPU.
        provider_options: Handed to the provider as they are.
        borders: ``guided`` for borders along the edges of the image; ``None`` for the bundle's own, or interpolated.
        companion: A second, faster bundle for the policies that have a use for one; ``None`` for none.
        follow: Names of the classes whose segments are found by their looks in carried label maps.
        trust: Whose bundles are opened; ``None`` for this machine's own rule.
    """

    runtime: str = "auto"
    precision: Precision | None = None
    variant: str = ""
    threads: int = 0
    provider: str = ""
    provider_options: Mapping[str, str] = field(default_factory=dict)
    borders: Borders | None = None
    companion: Path | None = None
    follow: tuple[str, ...] = ()
    trust: TrustPolicy | None = None

    def with_own_schedule(self: _Options, bundle: Path, policy: Policy | None) -> tuple[_Options, Policy | None]:
        """These options and a policy, or what the bundle's own schedule says where the caller has not chosen.

        Raises:
            BundleError: If the bundle cannot be read, or its companion is missing.
            OptionError: If this version does not know the bundle's own policy.
        """
        opened = None if policy is not None else open_bundle(bundle)
        own = None if opened is None else own_schedule(opened)
        if opened is None or own is None:
            return self, policy
        chooses = self.runtime != "auto" or self.precision is not None or bool(self.variant)
        options = replace(
            self,
            variant=self.variant if chooses else tuned_variant(opened, own),
            threads=self.threads or own.threads,
            borders=self.borders or own.borders,
            companion=self.companion or own.companion,
        )
        return options, own.policy

    def schedule_text(self, policy: Policy | None) -> str:
        """The policy, and what else changes label maps, for records that are compared."""
        more = [] if policy is None else [repr(policy)]
        if self.borders not in (None, "interpolated"):
            more.append(f"borders={self.borders}")
        if self.companion is not None:
            more.append(f"companion={open_bundle(self.companion).sha256[:12]}")
        if self.follow:
            more.append(f"follow={','.join(self.follow)}")
        return ", ".join(more)

    def open_segmenter(
        self,
        bundle: Path,
        policy: Policy | None = None,
        *,
        replay: DeviceProfile | None = None,
        clock: VirtualClock | None = None,
    ) -> Segmenter:
        """Open a bundle.

        Args:
            bundle: The bundle's directory.
            policy: What schedules frames; ``None`` is the bundle's own, or the whole network on every frame.
            replay: Device profile whose costs are replayed instead of measured.
            clock: The clock to replay them on; by default a new one.

        Raises:
            BundleError: If the bundle cannot be read or trusted.
            BackendError: If no variant can be opened.
            OptionError: If the variant lacks what the policy needs.
        """
        return Segmenter.open(
            bundle,
            runtime=self.runtime,
            policy=policy,
            threads=self.threads,
            options=replace(self.open_options(), replay=replay, clock=clock or time.perf_counter_ns),
        )

    def open_options(self) -> OpenOptions:
        """What :meth:`Segmenter.open <edge_vseg.Segmenter.open>` takes beside runtime, policy and threads."""
        return OpenOptions(
            precision=self.precision,
            variant=self.variant,
            provider=self.provider,
            provider_options=self.provider_options,
            borders=self.borders,
            companion=self.companion,
            follow=self.follow,
            trust=self.trust,
        )
