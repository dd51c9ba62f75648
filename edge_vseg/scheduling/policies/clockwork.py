"""Feature reuse: carried context, fresh detail, the context renewed a few slices per frame."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Detail, Refresh
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Clockwork:
    """Run stem and detail stage on every frame, and the context stage spread over ``period_frames`` frames.

    Use it when every frame should cost the same and the network has a context stage. A context is used once it is
    complete, warped from the frame that it began with, so it is up to twice the period old.

    Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, ECCV 2016 workshops (the pipelined
    schedule; here the context is warped too); Carreira et al., Massively Parallel Video Networks, ECCV 2018.

    Attributes:
        period_frames: Frames that a context is spread over.
        motion: Motion estimator.
    """

    period_frames: int = 3
    motion: str = "dis"
    name: str = "clockwork"
    needs: str = "context"

    def __post_init__(self) -> None:
        """Raise OptionError if the period is below 1."""
        if self.period_frames < 1:
            raise OptionError(f"period_frames must be 1 or more, got {self.period_frames}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        assert situation.context_slices is not None
        first, end = situation.context_slices
        total, done = end - first, situation.refresh_slices_done
        if situation.context_age_frames is None:
            return Decision(actions=(Refresh(total), Detail()), reason="first frame")
        frame = situation.refresh_age_frames if done else 0
        due = -(-total * (frame + 1) // self.period_frames) - done
        actions = (Detail(), Refresh(min(due, total - done))) if due > 0 else (Detail(),)
        return Decision(actions=actions, reason=f"context {situation.context_age_frames} frames old")
