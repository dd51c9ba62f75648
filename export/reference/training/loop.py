"""The training loop; can be stopped and resumed at any step."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_vseg.bundle.manifest import Label
from edge_vseg.errors import DatasetError, OptionError, TrainingError, WeightsError
from edge_vseg.export.reference.training.batches import Batch, batches
from edge_vseg.export.reference.training.checkpoint import Average, RunState
from edge_vseg.export.reference.training.config import TrainConfig
from edge_vseg.export.reference.training.objective import DISTILLATION, Trainee, losses
from edge_vseg.export.reference.training.run_folder import run_folder
from edge_vseg.export.reference.training.run_log import LossSums, RunLog
from edge_vseg.export.reference.training.run_sources import data_fingerprints
from edge_vseg.export.reference.training.schedule import learning_rate
from edge_vseg.export.reference.training.teachers import ForeignTeacher, Teacher
from edge_vseg.export.reference.training.training_data import THINGS, ClassStatistics, TrainingData, class_statistics
from edge_vseg.export.reference.training.validation import evaluate_network, iou_row
from edge_vseg.export.reference.zoo.spec import SPECS
from edge_vseg.export.reference.zoo.two_branch import TwoBranch
from edge_vseg.export.reference.zoo.weights import write_weights
from edge_vseg.export.training_hardware import full_memory_named, has_bfloat16, repeatable
from edge_vseg.signals import defer_interrupt
from edge_vseg.types import IGNORE_ID

logger = logging.getLogger(__name__)

LOG, WEIGHTS = "log.csv", "weights.safetensors"
CHECKPOINT_PERIOD_S = 45.0
"""A run that is killed loses no more than a minute, with the step and the writing."""
MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """State of a run after a step.

    Attributes:
        step: Steps done.
        steps: Steps in total.
        loss: Loss of the last step.
        miou: mIoU on the validation frames in percent at the last evaluation; NaN before the first.
    """

    step: int
    steps: int
    loss: float
    miou: float


def train(
    config: TrainConfig,
    data: TrainingData,
    folder: Path,
    *,
    device: str = "cpu",
    start: dict[str, torch.Tensor] | None = None,
    teacher: Teacher | None = None,
    sources: Mapping[str, str] | None = None,
    on_step: Callable[[TrainingProgress], None] = lambda _: None,
) -> Path:
    """Train a network; continue from the checkpoint in the folder if there is one.

    Ctrl-C takes effect after the current step. On Ctrl-C, and on an error outside a step, a checkpoint is written
    first. After an error within a step the previous checkpoint remains. A run that was stopped in an evaluation begins
    with that.

    Args:
        config: Training options.
        data: Frames.
        folder: Output folder; gets ``checkpoint.pt``, ``log.csv`` and ``weights.safetensors``. With
            ``keep="best"`` the weights are written after each evaluation that is the best so far.
        device: Torch device.
        start: Initial weights instead of random ones; ignored if there is a checkpoint.
        teacher: What to distil from; see :func:`~edge_vseg.export.reference.training.teachers.open_teacher`.
        sources: What else the run is made from, by name; others are refused in its folder, as are other label maps.
        on_step: Called after every step.

    Returns:
        The weights file, float16: the moving average at the last step, or at the best evaluation.

    Raises:
        OptionError: If there are no training frames, ``keep="best"`` has no validation frames, ``consistency`` no pairs
            of frames or such as are smaller than a crop, ``pasted`` no class of things, a teacher comes without a
            distillation weight or the reverse, a foreign one with another weight than ``response``, the checkpoint
            was made with other options or data, or the memory of a GPU does not suffice.
        DatasetError: If no pixel of the training frames, or of the validation frames, has a class.
        WeightsError: If the checkpoint is damaged, or ``start`` does not fit the network.
        TrainingError: If the loss or its gradient is not finite.
        OutputError: If a file cannot be written.
    """
    check_run(config, data, teacher)
    with run_folder(folder), computing_on(device):
        state = new_state(config, device, start, data.labels)
        state.sources = data_fingerprints(data) | dict(sources or {})
        state.resume(folder, config)
        return _go_on(state, config, data, folder, device, teacher, on_step)


def _go_on(
    state: RunState,
    config: TrainConfig,
    data: TrainingData,
    folder: Path,
    device: str,
    teacher: Teacher | None,
    on_step: Callable[[TrainingProgress], None],
) -> Path:
    steps = config.epochs * -(-len(data.train) // config.batch)
    log, miou = RunLog(folder / LOG, state.step), float("nan")
    if log.has(state.step):
        state.losses = LossSums()
        if state.step >= steps:
            logger.warning("the run in %s was finished before: nothing is learnt, it is only judged again", folder)
    elif state.step and _is_evaluation_due(config, state.step, steps):
        logger.info("step %d of the run in %s was not evaluated before it was stopped: it is now", state.step, folder)
        miou = _evaluate_and_log(state, config, data, log, folder, steps)
    statistics = class_statistics(data.train, len(data.labels))
    weights = class_weights(config, statistics, device)
    if teacher is not None:
        teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    saved_s = time.monotonic()
    with _save_on_exit(state, folder, config) as guard_step:
        for batch in batches(config, data, state.step, steps, statistics):
            rate = learning_rate(config, state.step, steps)
            with guard_step():
                step_losses = train_step(state, to_device(batch, device), config, rate, weights, teacher)
            is_due = _is_evaluation_due(config, state.step, steps)
            if is_due or time.monotonic() - saved_s > CHECKPOINT_PERIOD_S:  # an evaluation may take minutes
                state.save(folder, config)
                saved_s = time.monotonic()
            if is_due:
                miou = _evaluate_and_log(state, config, data, log, folder, steps)
            on_step(TrainingProgress(step=state.step, steps=steps, loss=step_losses["total"], miou=miou))
    if config.keep == "last":
        _write_average(folder / WEIGHTS, state, config)
    return folder / WEIGHTS


def _is_evaluation_due(config: TrainConfig, step: int, steps: int) -> bool:
    period = max(1, config.evaluate_every * steps // config.epochs)
    return step % period == 0 or step >= steps


@contextlib.contextmanager
def computing_on(device: str) -> Iterator[None]:
    """On a GPU: kernels that give the same every time where torch has them, and what to do if its memory is full.

    Raises:
        OptionError: If it is.
    """
    advice = "give --device cpu, or begin in another folder with a smaller batch or crop_hw"
    with repeatable(device), full_memory_named(device, advice):
        yield


def check_run(config: TrainConfig, data: TrainingData, teacher: Teacher | None) -> None:
    """Raise OptionError or DatasetError if options, data and teacher do not go together; see :func:`train`."""
    if not data.train:
        raise OptionError("there are no training frames")
    if data.val and not any((frame.labels != IGNORE_ID).any() for frame in data.val):
        raise DatasetError(
            f"no pixel of the {len(data.val)} validation frames has one of the classes; label some, or give another"
            " split with --val"
        )
    if config.pasted and not data.things(config.things):
        raise OptionError(
            f"pasted={config.pasted:g} pastes things that can be counted, and none of the classes is called as one:"
            f" {', '.join(sorted(THINGS))}; set pasted=0, or say which are with things"
        )
    if config.things and not config.pasted:
        raise OptionError("things says what is pasted, and nothing is: set pasted, such as pasted=0.3")
    if config.keep == "best" and not data.val:
        raise OptionError("keep=best needs validation frames; add some, or set keep=last")
    if (teacher is None) != (config.response == config.feature == config.relation == 0):
        raise OptionError("distillation needs a teacher and a weight, such as response=1; give both or neither")
    if config.consistency and len(data.streets) < 2 and not data.pairs:
        raise OptionError(
            "consistency needs frames that follow each other: give --video, or set for example streets=400"
        )
    if config.consistency:
        _check_pair_sizes(config, data)
    if isinstance(teacher, ForeignTeacher) and (config.feature or config.relation):
        raise OptionError("feature and relation compare contexts, which only reference networks have; use response")


def _check_pair_sizes(config: TrainConfig, data: TrainingData) -> None:
    shapes = {"rendered streets": {street.image.shape[:2] for street in data.streets}}
    shapes["pairs of video frames"] = {pair.present.shape[:2] for pair in data.pairs}
    height, width = config.crop_hw
    for what, sizes in shapes.items():
        for tall, wide in sorted(sizes):
            if tall < height or wide < width:
                raise OptionError(
                    f"with consistency={config.consistency:g}, pairs of frames are cropped to {height}x{width} and not"
                    f" scaled, and there are {what} of {tall}x{wide}; make them at least as large, or set a smaller"
                    " crop_hw or consistency=0"
                )


@contextlib.contextmanager
def _save_on_exit(
    state: RunState, folder: Path, config: TrainConfig
) -> Iterator[Callable[[], contextlib.AbstractContextManager[None]]]:
    """Save the state if the block ends by an error or Ctrl-C; yields a context manager to wrap each step in.

    A state from the middle of a step is not saved: resuming from it would give other weights.
    """
    first_step, consistent = state.step, True

    @contextlib.contextmanager
    def guard_step() -> Iterator[None]:
        nonlocal consistent
        with defer_interrupt():
            consistent = False
            yield
            consistent = True

    try:
        yield guard_step
    except BaseException:
        if consistent and state.step > first_step:
            with defer_interrupt():
                state.save(folder, config)
        raise


def class_weights(config: TrainConfig, statistics: ClassStatistics, device: str) -> torch.Tensor:
    """The weight of each class in the label losses, ``(classes,)`` float32."""
    return torch.from_numpy(1 / np.log(config.class_weight_floor + statistics.shares)).float().to(device)


def new_state(
    config: TrainConfig, device: str, start: dict[str, torch.Tensor] | None, labels: tuple[Label, ...]
) -> RunState:
    """The state before the first step: random weights by the seed, or given ones.

    Raises:
        WeightsError: If given weights do not fit the network.
    """
    torch.manual_seed(config.seed)
    network = TwoBranch(replace(SPECS[config.network], classes=len(labels)))
    network.labels = labels
    if start is not None:
        try:
            network.load_state_dict(start)
        except RuntimeError as exc:
            raise WeightsError(
                f"the start weights do not fit network {config.network}: {str(exc).splitlines()[-1].strip()}"
            ) from exc
    trainee = Trainee(network).to(device, memory_format=torch.channels_last).train()
    if config.frozen:
        for part in network.backbone:
            part.eval().requires_grad_(False)
    trained = [value for value in trainee.parameters() if value.requires_grad]
    decayed, others = [v for v in trained if v.ndim > 1], [v for v in trained if v.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer: torch.optim.Optimizer
    match config.optimizer:
        case "adamw":
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        case "sgd":
            optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    return RunState(network=trainee, average=Average(trainee, config.ema), optimizer=optimizer)


def train_step(
    state: RunState,
    batch: Batch,
    config: TrainConfig,
    rate: float,
    weights: torch.Tensor,
    teacher: Teacher | None,
) -> dict[str, float]:
    """Do one step; returns the losses by name, and their sum as ``total``.

    Raises:
        TrainingError: If they or their gradient are not finite; the weights are then unchanged.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    device = batch.images.device.type
    with torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device)):
        step_losses = losses(state.network, batch, config, weights, teacher)
    total = torch.stack(list(step_losses.values())).sum()
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), MAX_GRADIENT_NORM)
    if not torch.isfinite(total + norm):
        raise _diverged(state.step + 1, step_losses, rate)
    state.optimizer.step()
    state.step += 1
    state.average.update(state.network, state.step)
    found = {name: float(value.detach()) for name, value in (step_losses | {"total": total}).items()}
    state.losses.add(found)
    return found


def _diverged(step: int, step_losses: Mapping[str, torch.Tensor], rate: float) -> TrainingError:
    wrong = [name for name, value in step_losses.items() if not torch.isfinite(value)]
    what = f"the loss {', '.join(wrong)}" if wrong else "the gradient"
    # The labels are compared with the same scores of the network, so if that is finite, the teacher's are not.
    if wrong and set(wrong) <= DISTILLATION:
        advice = "the teacher's scores are not finite: try it on some frames, and look at its normalization"
    else:
        advice = (
            f"lower learning_rate, which is {rate:.3g} here, and start in another folder; a checkpoint.pt in this one"
            " is of a step before, for --start"
        )
    return TrainingError(f"{what} is not a finite number at step {step}; {advice}")


def _evaluate_and_log(
    state: RunState, config: TrainConfig, data: TrainingData, log: RunLog, folder: Path, steps: int
) -> float:
    """Judge the averaged weights; the row comes last: it says that all of it was done."""
    row = iou_row(evaluate_network(state.average.network.network, data.val, len(data.labels))) if data.val else {}
    miou = row.get("miou", float("nan"))
    if config.keep == "best" and miou > log.best_miou:
        _write_average(folder / WEIGHTS, state, config)
    log.write(state.step, learning_rate(config, min(state.step, steps) - 1, steps), state.losses, row)
    state.losses = LossSums()
    return miou


def _write_average(path: Path, state: RunState, config: TrainConfig) -> None:
    write_weights(path, state.average.network.network, {"config": json.dumps(config.tree())})


def to_device(batch: Batch, device: str) -> Batch:
    """The batch on a device."""
    return replace(
        batch,
        images=batch.images.to(device, memory_format=torch.channels_last, non_blocking=True),
        labels=batch.labels.to(device, non_blocking=True),
        confidence=None if batch.confidence is None else batch.confidence.to(device, non_blocking=True),
        older=batch.older.to(device, memory_format=torch.channels_last, non_blocking=True),
        motion=batch.motion.to(device, non_blocking=True),
        neighbours=batch.neighbours and batch.neighbours.to(device),
    )
