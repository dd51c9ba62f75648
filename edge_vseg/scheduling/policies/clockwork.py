"""Stages at their own rates (T4)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Decision, Detail, Refresh
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Clockwork:
    """Stem and detail stage on every frame, the context a few slices at a time: the deep stage has a slower clock.

    The context that a frame began serves when it is done, carried along the motion since that frame; so every frame
    costs the same.

    Reference: Shelhamer et al., Clockwork Convnets for Video Semantic Segmentation, ECCV 2016 workshops, whose
    pipelined schedule this is; Carreira et al., Massively Parallel Video Networks, ECCV 2018.

    Attributes:
        frames: Frames that a context is spread over.
        motion: Motion estimator.
    """

    frames: int = 3
    motion: str = "dis"
    name: str = "clockwork"
    needs: str = "context"

    def __post_init__(self) -> None:
        """Refuse a number of frames below 1."""
        if self.frames < 1:
            raise OptionError(f"frames must be 1 or more, got {self.frames}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        assert now.context is not None
        first, last = now.context
        count = last - first
        if now.context_age is None:
            return Decision(actions=(Refresh(count), Detail()), reason="first frame")
        turn = now.refresh_age if now.refresh_done else 0
        due = -(-count * (turn + 1) // self.frames) - now.refresh_done
        actions = (Detail(), Refresh(min(due, count - now.refresh_done))) if due > 0 else (Detail(),)
        return Decision(actions=actions, reason=f"context {now.context_age} frames old")
