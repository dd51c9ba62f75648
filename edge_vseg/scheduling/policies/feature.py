"""Feature reuse: carried context, fresh detail, the context renewed in one go."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.decision import Decision, Detail, Refresh
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Run stem and detail stage on every frame, and the context stage on every ``period_frames``-th.

    Gives the best labels for the mean cost, if the network has a context stage (two-branch networks, encoder-decoders
    with skips). The frame that renews the context takes the network's full time; policy ``clockwork`` spreads it.

    Reference: Zhu et al., Deep Feature Flow, CVPR 2017, but with fresh low-level features beside the warped ones, as in
    Jain et al., Accel, CVPR 2019, and without fine-tuning.

    Attributes:
        period_frames: Frames from one context to the next.
        motion: Motion estimator.
    """

    period_frames: int = 5
    motion: str = "dis"
    name: str = "feature"
    needs: str = "context"

    def __post_init__(self) -> None:
        """Raise OptionError if the period is below 1."""
        if self.period_frames < 1:
            raise OptionError(f"period_frames must be 1 or more, got {self.period_frames}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        assert situation.context_slices is not None
        first, end = situation.context_slices
        age = situation.context_age_frames
        if age is None or age >= self.period_frames:
            return Decision(actions=(Refresh(end - first), Detail()), reason="context")
        return Decision(actions=(Detail(),), reason=f"context {age} frames old")
