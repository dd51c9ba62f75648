"""What options add to a frame: guided borders, and companions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edge_vseg.bundle import Bundle, open_bundle
from edge_vseg.decision import Consult, Decision, Infer
from edge_vseg.errors import BackendError
from edge_vseg.imaging.letterbox import borders_can_be_guided
from edge_vseg.open_options import OpenOptions
from edge_vseg.scheduling import steps
from edge_vseg.scheduling.policies import Policy
from edge_vseg.scheduling.situation import Costs, Situation
from edge_vseg.scheduling.steps import Step
from edge_vseg.segmenter import Segmenter
from edge_vseg.types import Frame

log = logging.getLogger(__name__)

WARM_UP_FRAMES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsultingPolicy:
    """Runs the companion on every frame but the first; for calibration only."""

    needs: str = ""
    motion: str = "dis-half"
    name: str = "consulting"
    consults: ClassVar[bool] = True

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        return Decision(actions=(Infer() if situation.age_frames is None else Consult(),), reason="calibration")


def time_options(
    bundle: Path, same: OpenOptions, threads: int, frames: Sequence[Frame], companions: Sequence[Bundle]
) -> dict[Step, list[float]]:
    """Milliseconds of a guided label map, and of each companion on a frame.

    Args:
        bundle: The bundle.
        same: Its variant and provider.
        threads: Worker threads of each session.
        frames: Consecutive frames, more than :data:`WARM_UP_FRAMES`.
        companions: Bundles with the same classes.

    Returns:
        Durations by step; without ``labels guided`` where the network's borders cannot be guided, or its scores are
        not at least twice as small as the frames.

    Raises:
        OptionError: If a companion does not go together with the bundle.
    """
    found: dict[Step, list[float]] = {}

    def time(step: Step, name: Step, policy: str | Policy, options: OpenOptions) -> None:
        with Segmenter.open(bundle, policy=policy, threads=threads, options=options) as segmenter:
            for number, frame in enumerate(frames):
                if number == WARM_UP_FRAMES:
                    segmenter.meter.clear()
                segmenter(frame)
            samples_ms = segmenter.meter.samples_ms().get(step)
        if samples_ms:  # there are none where every frame is a first one, seconds after the last
            found[name] = samples_ms

    manifest, (height, width, _) = open_bundle(bundle).manifest, frames[0].image.shape
    if borders_can_be_guided(manifest.head, manifest.frame, (height, width)):
        time(steps.LABELS, steps.GUIDED_LABELS, "every-frame", replace(same, borders="guided"))
    for companion in companions:
        options = replace(same, companion=companion.root)
        try:
            time(steps.COMPANION, steps.companion_step(companion.sha256), ConsultingPolicy(), options)
        except BackendError as exc:  # such as no variant for this runtime: the other costs were measured all the same
            log.warning("%s cannot be timed, and is left out of the profile: %s", companion.root, exc)
    return found
