"""Teach a student on frames: block by block first, then as a whole, for a given time or number of steps.

References: Li et al., BRECQ, 2021 (reconstruction of blocks); Hinton et al., Distilling the Knowledge in a Neural
Network, 2015 (the classes' probabilities as the target).
"""

from __future__ import annotations

import copy
import logging
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_vseg.export.finetuning.frame_variants import vary_frame
from edge_vseg.export.finetuning.lesson_loss import lesson_loss
from edge_vseg.export.finetuning.student import Student, Teacher
from edge_vseg.export.finetuning.training_frame import TrainingFrame
from edge_vseg.export.training_hardware import TrainingHardware, repeatable
from edge_vseg.export.training_length import TrainingLength

log = logging.getLogger(__name__)
BLOCKWISE_SHARE = 0.3
"""Of the training, in which each block is taught alone."""
LEARNING_RATE = 0.002
"""In int8 steps per training step, at the start of a phase."""
RANGE_RATE = 0.003
"""Of the scales of activations, as a share."""
FEATURE_WEIGHT = 0.3
CHECKPOINT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a student is taught.

    Attributes:
        length: When to stop.
        seed: Of the choice and the variants of frames.
        align: Sampling grid of the network's own upsampling, by which scores are compared with labels.
        hardware: What it runs on.
        checkpoint: File in which the state is kept, and from which training goes on, on whatever device.
    """

    length: TrainingLength
    seed: int = 0
    align: str = "half_pixel"
    hardware: TrainingHardware = field(default_factory=TrainingHardware)
    checkpoint: Path | None = None


class Training:
    """A training that can be stopped and taken up again.

    Args:
        student: Is trained in place, on the course's device.
        teacher: Gives the targets.
        ends: Tensors at which blocks end; see :func:`~edge_vseg.export.finetuning.blocks.block_ends`.
        frames: What to train on; the truth is learnt as well where there is one, once the blocks have been taught.
        course: How.
    """

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        ends: Sequence[str],
        frames: Sequence[TrainingFrame],
        course: Course,
    ) -> None:
        self._device = course.hardware.device
        self._student, self._teacher = student.to(self._device), teacher.to(self._device)
        self._ends, self._frames, self._course = frozenset(ends), frames, course
        self._step, self._spent_s = 0, 0.0
        self._optimizer = self._new_optimizer()
        self._load()

    def run(self, progress: Callable[[float, float], None] = lambda share, loss: None) -> None:
        """Train to the end.

        Args:
            progress: Called after each step with the share that is done, and the loss.
        """
        began = time.monotonic() - self._spent_s
        saved = time.monotonic()
        length = self._course.length
        with repeatable(self._device):
            while (share := length.share(self._step, self._spent_s)) < 1:
                loss = self._advance(share)
                self._step += 1
                self._spent_s = time.monotonic() - began
                progress(length.share(self._step, self._spent_s), loss)
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
        rng = np.random.default_rng((self._course.seed, self._step))
        frame = vary_frame(self._frames[int(rng.integers(len(self._frames)))], rng)
        image = torch.from_numpy(frame.image[None]).to(self._device)
        target = self._teacher(image, self._ends)
        found = self._student(image, self._ends, detach=blockwise)
        truth = None if blockwise else frame.labels
        loss = lesson_loss(found[""], target[""], truth, self._course.align)
        loss = loss + FEATURE_WEIGHT * _feature_loss(found, target, self._ends)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        path = self._course.checkpoint
        if path is None:
            return
        state = {
            "student": self._student.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "spent_s": self._spent_s,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def _new_optimizer(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._student.parameter_groups(LEARNING_RATE, RANGE_RATE))

    def _load(self) -> None:
        path = self._course.checkpoint
        if path is None or not path.exists():
            return
        before = copy.deepcopy(self._student.state_dict())  # torch loads what fits before it says what does not
        try:
            state = torch.load(path, map_location=self._device, weights_only=True)
            self._student.load_state_dict(state["student"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._step, self._spent_s = int(state["step"]), float(state["spent_s"])
        except (
            RuntimeError, KeyError, TypeError, ValueError, AttributeError, pickle.UnpicklingError, EOFError,
        ) as exc:  # fmt: skip
            log.warning("%s is no checkpoint of this training, which begins anew: %s", path, exc)
            self._student.load_state_dict(before)
            self._optimizer, self._step, self._spent_s = self._new_optimizer(), 0, 0.0


def _feature_loss(found: Mapping[str, Tensor], target: Mapping[str, Tensor], names: frozenset[str]) -> Tensor:
    """Squared error of each tensor over the variance of the teacher's, averaged over tensors."""
    errors = [F.mse_loss(found[name], target[name]) / (target[name].var() + 1e-12) for name in sorted(names)]
    return torch.stack(errors).mean() if errors else found[""].new_zeros(())
