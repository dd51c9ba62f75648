"""Keyframes on another core (T8)."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vseg.errors import OptionError
from edge_vseg.scheduling.actions import Action, Collect, Decision, Infer, Launch, Propagate
from edge_vseg.scheduling.situation import Costs, Situation


@dataclass(frozen=True, slots=True, kw_only=True)
class Async:
    """A worker thread infers one keyframe after the other; the frame thread only carries the last one along.

    What the worker gives is old when it comes, and is carried along the motion since its own frame. Give the runtime
    a thread less than there are cores.

    Reference: Li et al., Low-Latency Video Semantic Segmentation, CVPR 2018, whose adaptive scheduler runs the slow
    path in parallel with the fast one.

    Attributes:
        lag: Frames after which a keyframe is taken, waiting for it if need be, so that the same video gives the same
            maps; 0 takes it on the first frame that finds it done.
        motion: Motion estimator.
    """

    lag: int = 0
    motion: str = "dis-fine"
    name: str = "async"
    needs: str = ""

    def __post_init__(self) -> None:
        """Refuse a negative lag."""
        if self.lag < 0:
            raise OptionError(f"lag must be a number of frames, 0 or more, got {self.lag}")

    def decide(self, now: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        if now.age is None:
            return Decision(actions=(Infer(),), reason="first frame")
        if now.launched_age is None:
            return Decision(actions=(Launch(), Propagate()), reason="keyframe to the worker")
        due = now.launched_age >= self.lag if self.lag else now.launched_done
        if not due:
            return Decision(actions=(Propagate(),), reason=f"worker busy for {now.launched_age} frames")
        actions: tuple[Action, ...] = (Collect(), Launch())
        return Decision(actions=actions, reason=f"keyframe {now.launched_age} frames old")
