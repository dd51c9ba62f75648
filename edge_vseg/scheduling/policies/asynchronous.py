"""Keyframes on a worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_vseg.decision import Action, Collect, Consult, Decision, Infer, Launch, Propagate
from edge_vseg.errors import OptionError
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Async:
    """Let the background infer one keyframe after another while frames only propagate the last one.

    Use it when there is time between frames: none waits for the network. A keyframe is old when it is done, and is
    warped from its own frame to the present. ``deadline`` does the same, and knows when not to. With a companion it
    is fused with that on every frame.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, who run the slow path in parallel with the
    fast one; here the fast path is motion alone.

    Attributes:
        lag_frames: Take each keyframe exactly this many frames after its own, waiting for it if need be, so that the
            same video gives the same maps; 0 takes it on the first frame that finds it done.
        motion: Motion estimator.
    """

    consults: ClassVar[bool] = True
    lag_frames: int = 0
    motion: str = "dis-fine"
    name: str = "async"
    needs: str = ""

    def __post_init__(self) -> None:
        """Raise OptionError if the lag is negative."""
        if self.lag_frames < 0:
            raise OptionError(f"lag_frames must be 0 or more, got {self.lag_frames}")

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        age = situation.background_age_frames
        carry: Action = Consult() if situation.companion else Propagate()
        if situation.age_frames is None:
            return Decision(actions=(Infer(),), reason="first frame")
        if situation.background_work is None:
            if not situation.background:
                return Decision(actions=(carry,), reason="the background is not free")
            return Decision(actions=(Launch(), carry), reason="keyframe to the background")
        due = age >= self.lag_frames if self.lag_frames else situation.background_done
        if not due:
            return Decision(actions=(carry,), reason=f"background busy for {age} frames")
        actions: tuple[Action, ...] = (Collect(), Launch()) if situation.background else (Collect(),)
        if situation.companion:
            actions = (*actions, carry)
        return Decision(actions=actions, reason=f"keyframe {age} frames old")
