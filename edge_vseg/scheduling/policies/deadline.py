"""A deadline for every answer, and all the time there is for the network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from edge_vseg.decision import (
    ALL_SLICES,
    Action,
    Advance,
    Cancel,
    Collect,
    Consult,
    Decision,
    Detail,
    Hold,
    Infer,
    Launch,
    Propagate,
    Refresh,
    Work,
)
from edge_vseg.errors import OptionError
from edge_vseg.motion import ESTIMATORS, STILL
from edge_vseg.scheduling.policies.deadline_plans import detail_ms, mean_age, plans
from edge_vseg.scheduling.policies.port import FrameLimits
from edge_vseg.scheduling.situation import Costs, Situation

MIN_IDLE_SHARE = 0.25
"""Share of the frame period that must be idle for a keyframe in the background; less is used up by the next frame."""
MIN_SLICES_BESIDE_MOTION = 2
"""Slices that must fit beside the motion; else the next frame gets a coarser estimator."""
KEPT_PLAN = 0.9
"""The kind of plan of the last frame counts as so much less stale: costs are noisy, and changing has its own cost."""
CUT_UNEXPLAINED = 0.1
"""Mean gray difference after warping, 0 to 1, from which on the picture is another one."""
PATIENCE_NETWORK_TIMES = 2.0
"""Durations of the network after which a keyframe under way is no longer given up for a picture that has changed."""
MIN_COMPANION_AGE_MS = 250.0
"""Age from which a companion adds more to a carried map than the time that it takes from the background."""
UNCHANGED_REFRESH_MS = 10_000.0
"""Where nothing changes a keyframe comes this often, in case what changed was too faint to be noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Answer every frame within a number of milliseconds, and keep the maps as fresh as the machine allows.

    Use it for live video. The deadline is that of the answer, not the time that the network has: between frames the
    network runs in the background, one keyframe after the other, and each frame warps the last finished map along the
    motion, which costs it little. So a network of several frame periods still gives every frame its map. Where the
    whole network fits into the deadline, every frame is inferred. Where there is no time between frames (a file that is
    read as fast as it is segmented), the frame itself does the part that keeps maps freshest for the time that is left:

    - slices of a keyframe, and the last map propagated;
    - stem and detail stage with the carried context, and slices of the next context;
    - tiles, those with the most drift first;
    - the last map propagated, or held.

    A companion runs on frames whose map has aged, where it fits into the deadline beside the warp.

    What keeps maps freshest is judged by the predicted drift and by how fast contexts and tiles age compared with
    carried maps, which ``edge-vseg calibrate`` measures on your video; what fits, by the median of each step and the
    margin by which whole frames exceed their sum. When the motion leaves no time, the next frame gets a coarser
    estimator. Where the picture has hardly changed, no keyframe is begun; where it changes suddenly, the one under way
    is dropped and another begun at once. A map that reaches ``max_age_frames`` is renewed even if a slice alone exceeds
    the deadline, and :attr:`Result.over_budget` says so, as on the first frame, which takes as long as it takes.

    Reference: none; the literature schedules for a mean cost. The idea of anytime algorithms: Zilberstein, Using
    Anytime Algorithms in Intelligent Systems, AI Magazine 1996. The background: Li et al., Low-Latency Video Semantic
    Segmentation, CVPR 2018.

    Attributes:
        milliseconds: The deadline, from the call to the label map.
        cpu_share: Share of the machine that both lanes may use together, 0 to 1: heat, battery, other processes.
        max_age_ms: Never show a map from an image that was captured longer ago; see
            :class:`~edge_vseg.scheduling.policies.port.FrameLimits`.
        max_age_frames: Renew a map of this age whatever it costs.
        min_drift: Predicted share of outdated pixels below which no keyframe is begun in the background.
        motion: Finest motion estimator.

    Example:
        >>> from edge_vseg import Deadline, Segmenter, open_source
        >>> policy = Deadline(milliseconds=1000.0, cpu_share=0.5)
        >>> with Segmenter.open("street.evseg", policy=policy) as segmenter, open_source("drive.mp4") as frames:
        ...     results = [segmenter(frame) for frame in frames]
        >>> any(result.deadline_missed for result in results)
        False
    """

    consults: ClassVar[bool] = True
    milliseconds: float
    cpu_share: float = 1.0
    max_age_ms: float | None = None
    max_age_frames: int = 12
    min_drift: float = 0.003
    motion: str = "dis-half"
    name: str = "deadline"
    needs: str = "any"

    def __post_init__(self) -> None:
        """Raise OptionError if a value is out of range."""
        if not self.milliseconds > 0 or self.max_age_frames < 1 or not 0 <= self.min_drift < 1:
            raise OptionError(
                f"milliseconds must be positive, max_age_frames 1 or more and min_drift in [0, 1), got {self}"
            )
        _ = self.limits

    @property
    def limits(self) -> FrameLimits:
        """What holds on every frame."""
        return FrameLimits(deadline_ms=self.milliseconds, cpu_share=self.cpu_share, max_age_ms=self.max_age_ms)

    def decide(self, situation: Situation, costs: Costs) -> Decision:
        """See :class:`~edge_vseg.scheduling.policies.port.Policy`."""
        # In the background the network needs no time of the frame's.
        beside_ms = 0.0 if _has_background(situation) else MIN_SLICES_BESIDE_MOTION * max(costs.slices_ms, default=0.0)
        decision = self._with_companion(self._decide(situation, costs), situation, costs)
        return replace(decision, next_motion=self._next_motion(costs, beside_ms))

    def _next_motion(self, costs: Costs, beside_ms: float) -> str:
        """The finest estimator that leaves time to propagate, and for something beside it."""
        rest_ms = costs.fixed_ms - costs.motion_ms + costs.propagate_ms
        coarse_first = [name for name in ESTIMATORS if name != STILL]
        if self.motion in coarse_first:
            finest_first = coarse_first[coarse_first.index(self.motion) :: -1]
        else:
            finest_first = [self.motion]  # the codec's vectors, or none
        # A replay knows the costs of those that were calibrated, and of no others.
        candidates = [name for name in finest_first if name in costs.motions_ms] or finest_first
        for name in candidates:
            if rest_ms + costs.motions_ms.get(name, 0.0) + beside_ms <= self.milliseconds:
                return name
        coarsest = candidates[-1]
        return coarsest if rest_ms + costs.motions_ms.get(coarsest, 0.0) <= self.milliseconds else STILL

    def _decide(self, situation: Situation, costs: Costs) -> Decision:
        left_ms, age = self.milliseconds - costs.fixed_ms, situation.age_frames
        whole_fits = costs.infer_ms + costs.fuse_ms <= left_ms
        if age is None:
            # In stages where there are some: the first context comes with it.
            staged = situation.context_slices is not None and not whole_fits
            first: tuple[Action, ...] = (Refresh(ALL_SLICES), Detail()) if staged else (Infer(),)
            return Decision(actions=first, reason="first frame", over_budget=not whole_fits)
        if whole_fits:
            return Decision(actions=(Infer(),), reason="fits whole")
        if _has_background(situation) or situation.background_work is not None:
            return self._with_background(situation, costs, left_ms)
        return self._in_the_frame(situation, costs, left_ms, age)

    def _in_the_frame(self, situation: Situation, costs: Costs, left_ms: float, age: int) -> Decision:
        """The plan that keeps maps freshest, of those that fit into the frame."""
        best = None
        for plan in plans(situation, costs, left_ms, self.milliseconds, self.max_age_frames):
            kind = Decision(actions=plan.actions).summary
            kept = situation.previous is not None and situation.previous.summary == kind
            rank = plan.staleness * (KEPT_PLAN if kept else 1.0)
            if best is None or rank < best[0]:
                best = rank, plan
        if best is not None:
            return Decision(actions=best[1].actions, reason=best[1].reason)
        if age >= self.max_age_frames and situation.background:
            # Whoever takes too long in the frame leaves no time between frames, and never sees the background again.
            return self._with_background(situation, costs, left_ms, forced=True)
        if age >= self.max_age_frames:
            renew: tuple[Action, ...] = (Advance(1), Propagate()) if situation.slice_count else (Infer(),)
            return Decision(actions=renew, reason=f"{age} frames old", over_budget=True)
        if costs.propagate_ms <= left_ms:
            cuttable = situation.slice_count or situation.tile_drift
            return Decision(actions=(Propagate(),), reason="no part fits" if cuttable else "no slices")
        return Decision(actions=(Hold(),), reason="not even a warp fits", over_budget=True)

    def _with_background(self, situation: Situation, costs: Costs, left_ms: float, *, forced: bool = False) -> Decision:
        """Keep the background busy, and answer with its last keyframe, or with fresh details on its last context.

        ``forced`` gives it work although it had little time of late.
        """
        busy, done = situation.background_work is not None, situation.background_done
        actions: list[Action] = []
        work = self._work(situation, costs, left_ms)
        if done:
            actions.append(Collect())
            reason = f"{situation.background_work} {situation.background_age_frames} frames old"
        elif busy:
            reason = f"background busy for {situation.background_age_frames} frames"
        elif situation.background_rests:
            reason = f"background rests, {situation.age_frames} frames old"
        else:
            reason = f"{work} to the background"
        cut = situation.motion is not None and situation.motion.unexplained >= CUT_UNEXPLAINED
        # Where every picture is another, a keyframe that is late is better than none.
        if cut and busy and not done and situation.scene_age_ms < PATIENCE_NETWORK_TIMES * costs.background_ms:
            actions.append(Cancel())
            busy, reason = False, "the picture has changed"
        available = forced or _has_background(situation)
        if available and (done or not busy) and not situation.background_rests:
            if forced or cut or self._outdated(situation):
                actions.append(Launch(work))
            else:
                reason = f"drift {situation.drift:.2%}, {situation.age_frames} frames old"
        if work is Work.CONTEXT and situation.context_age_frames is not None:
            actions.append(Detail())
        else:
            actions.append(Propagate() if costs.propagate_ms <= left_ms else Hold())
        return Decision(actions=tuple(actions), reason=reason)

    def _with_companion(self, decision: Decision, situation: Situation, costs: Costs) -> Decision:
        """The same decision, with the companion's part in a carried map that is old, if there is time for it."""
        actions, age_ms, drift = decision.actions, situation.scene_age_ms, situation.drift
        if Collect() in actions and situation.background_work is Work.KEYFRAME:
            age_ms, drift = situation.background_scene_age_ms, situation.background_drift
        # Slices of a keyframe in the frame take all the time there is.
        carried = Propagate() in actions and not any(isinstance(action, Advance) for action in actions)
        fits = costs.companion_ms <= self.milliseconds - costs.fixed_ms
        old = age_ms >= MIN_COMPANION_AGE_MS
        if not (situation.companion and carried and fits and old and drift >= self.min_drift):
            return decision
        consulted = tuple(Consult() if action == Propagate() else action for action in actions)
        return replace(
            decision, actions=consulted, reason=f"{decision.reason}; the companion on a map of {age_ms:.0f} ms"
        )

    def _outdated(self, situation: Situation) -> bool:
        """Whether another keyframe is worth its energy."""
        if situation.background_done:  # the map that is about to be shown
            return situation.background_drift >= self.min_drift
        if situation.drift >= self.min_drift:
            return True
        if situation.still:
            return situation.age_ms >= UNCHANGED_REFRESH_MS
        return (situation.age_frames or 0) >= self.max_age_frames

    def _work(self, situation: Situation, costs: Costs, left_ms: float) -> Work:
        """Keyframes, or contexts for fresh details, whatever keeps the maps fresher."""
        fresh_ms, age = detail_ms(situation, costs), situation.context_age_frames
        if fresh_ms > left_ms or not situation.period_ms or not costs.infer_ms or (age or 0) > 2 * self.max_age_frames:
            return Work.KEYFRAME
        assert situation.context_slices is not None
        slowdown = costs.background_ms / costs.infer_ms
        context_ms = slowdown * sum(costs.slices_ms[: situation.context_slices[1]])
        period_ms = situation.period_ms
        free_ms = period_ms - fresh_ms - costs.fixed_ms
        if free_ms <= 0:
            return Work.KEYFRAME
        aging = situation.aging
        details = aging.context_base + aging.context_per_frame * mean_age(math.ceil(context_ms / free_ms))
        keyframes = mean_age(math.ceil(costs.background_ms / period_ms))
        was_detail = situation.previous is not None and any(isinstance(a, Detail) for a in situation.previous.actions)
        return Work.CONTEXT if details * (KEPT_PLAN if was_detail else 1 / KEPT_PLAN) < keyframes else Work.KEYFRAME


def _has_background(situation: Situation) -> bool:
    return situation.background and situation.idle_share >= MIN_IDLE_SHARE
