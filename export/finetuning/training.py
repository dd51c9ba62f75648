"""Teach a student on frames: block by block first, then as a whole, for a given time or number of steps.

References: Li et al., BRECQ, 2021 (reconstruction of blocks); Hinton et al., Distilling the Knowledge in a Neural
Network, 2015 (the classes' probabilities as the target).
"""

from __future__ import annotations

import logging
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.export.finetuning.frame_variants import vary_frame
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.training_length import TrainingLength
from edge_vseg.types import IGNORE_ID, LabelMap

log = logging.getLogger(__name__)
BLOCKWISE_SHARE = 0.3
"""Of the training, in which each block is taught alone."""
LEARNING_RATE = 0.002
"""In int8 steps per training step, at the start of a phase."""
RANGE_RATE = 0.003
"""Of the scales of activations, as a share."""
FEATURE_WEIGHT = 0.3
LABEL_WEIGHT = 0.5
"""Of the truth, beside what the whole float network says."""
CHECKPOINT_S = 20.0


class Training:
    """A training that can be stopped and taken up again.

    Args:
        student: Is trained in place.
        teacher: Gives the targets.
        ends: Tensors at which blocks end; see :func:`~edge_vseg.export.finetuning.blocks.block_ends`.
        frames: What to train on; the truth is learnt as well where there is one, once the blocks have been taught.
        length: When to stop.
        seed: Of the choice and the variants of frames.
        checkpoint: Where the state is kept; taken up if it is there.
    """

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        ends: Sequence[str],
        frames: Sequence[TrainingFrame],
        *,
        length: TrainingLength,
        seed: int,
        checkpoint: Path | None = None,
    ) -> None:
        self._student, self._teacher, self._ends = student, teacher, frozenset(ends)
        self._frames, self._length, self._seed, self._checkpoint = frames, length, seed, checkpoint
        self._optimizer = torch.optim.Adam(student.parameter_groups(LEARNING_RATE, RANGE_RATE))
        self._step = 0
        self._spent_s = 0.0
        self._load()

    def run(self, progress: Callable[[float, float], None] = lambda share, loss: None) -> None:
        """Train to the end.

        Args:
            progress: Called after each step with the share that is done, and the loss.
        """
        began = time.monotonic() - self._spent_s
        saved = time.monotonic()
        while (share := self._length.share(self._step, self._spent_s)) < 1:
            loss = self._advance(share)
            self._step += 1
            self._spent_s = time.monotonic() - began
            progress(self._length.share(self._step, self._spent_s), loss)
            if time.monotonic() - saved > CHECKPOINT_S:
                self.save()
                saved = time.monotonic()
        self.save()

    def _advance(self, share: float) -> float:
        blockwise = share < BLOCKWISE_SHARE and bool(self._ends)
        phase = share / BLOCKWISE_SHARE if blockwise else (share - BLOCKWISE_SHARE) / (1 - BLOCKWISE_SHARE)
        decay = 0.5 * (1 + math.cos(math.pi * min(max(phase, 0.0), 1.0)))
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * max(decay, 0.02)
        rng = np.random.default_rng((self._seed, self._step))
        frame = vary_frame(self._frames[int(rng.integers(len(self._frames)))], rng)
        image = torch.from_numpy(frame.image[None])
        target = self._teacher(image, self._ends)
        found = self._student(image, self._ends, detach=blockwise)
        truth = None if blockwise else frame.labels
        loss = lesson_loss(found[""], target[""], truth) + FEATURE_WEIGHT * _feature_loss(found, target, self._ends)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self._checkpoint is None:
            return
        state = {
            "student": self._student.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "spent_s": self._spent_s,
        }
        part = self._checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._checkpoint)

    def _load(self) -> None:
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        try:
            state = torch.load(self._checkpoint, weights_only=True)
            self._student.load_state_dict(state["student"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step, self._spent_s = int(state["step"]), float(state["spent_s"])
        except (RuntimeError, KeyError, ValueError, pickle.UnpicklingError, EOFError) as exc:
            log.warning("%s is no checkpoint of this training, which begins anew: %s", self._checkpoint, exc)


def lesson_loss(found: Tensor, target: Tensor, truth: LabelMap | None) -> Tensor:
    """What a network loses against its teacher, and against the truth where there is one.

    Args:
        found: ``(1, C, h, w)`` logits of the student, of two classes or more, as float graphs give them.
        target: The same of the teacher.
        truth: ``(H, W)`` uint8 or ``None``; pixels of 255 do not count.
    """
    loss = output_loss(found, target)
    if truth is None or (truth == IGNORE_ID).all():
        return loss
    wanted = torch.from_numpy(truth.astype(np.int64))[None]
    scores = F.interpolate(found, wanted.shape[1:], mode="bilinear", align_corners=False)
    return loss + LABEL_WEIGHT * F.cross_entropy(scores, wanted, ignore_index=IGNORE_ID)


def output_loss(found: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of the student's classes against the teacher's, less the teacher's own entropy.

    Args:
        found: ``(1, C, h, w)`` logits of the student.
        target: The same of the teacher; a single channel is a logit of two classes.
    """
    if target.shape[1] == 1:
        wanted = torch.sigmoid(target)
        floor = F.binary_cross_entropy_with_logits(target, wanted)
        return F.binary_cross_entropy_with_logits(found, wanted) - floor
    wanted = torch.softmax(target, 1)
    return (wanted * (torch.log_softmax(target, 1) - torch.log_softmax(found, 1))).sum(1).mean()


def _feature_loss(found: Mapping[str, Tensor], target: Mapping[str, Tensor], names: frozenset[str]) -> Tensor:
    """Squared error of each tensor over the variance of the teacher's, averaged over tensors."""
    errors = [F.mse_loss(found[name], target[name]) / (target[name].var() + 1e-12) for name in sorted(names)]
    return torch.stack(errors).mean() if errors else torch.zeros(())
